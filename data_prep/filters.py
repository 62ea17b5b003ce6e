"""Count what each metadata rule would keep of a snapshot.

    python data_prep/filters.py --metadata FILE

The rules are in screening/metadata_rules.py.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python data_prep/filters.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command, settings_from_args
from common.paths import project_path
from data_prep.papers.metadata import read_snapshot
from data_prep.papers.taxonomy import check_scope
from data_prep.screening.metadata_rules import RULES


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Count what each metadata rule would keep of a snapshot.",
        epilog="example: python data_prep/filters.py --metadata raw/arxiv-metadata-oai-snapshot.json "
        "--set data.year_min=2015",
    )
    parser.add_argument("--metadata", type=Path, help="metadata snapshot, one JSON record a line (data.metadata)")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    settings = settings_from_args(args, data__metadata=args.metadata).data
    check_scope(settings)
    path = project_path(settings.metadata)

    from tqdm import tqdm

    records, malformed = 0, 0
    examples: list[str] = []
    alone: Counter[str] = Counter()
    reasons: Counter[str | None] = Counter()
    size = path.stat().st_size if path.is_file() else 0
    with tqdm(total=size, unit="B", unit_scale=True, desc="metadata", mininterval=1) as bar:
        for line in read_snapshot(path, lambda data: bar.update(len(data))):
            if line.record is None:
                malformed += 1
                if len(examples) < 3:
                    examples.append(f"byte {line.offset:,}: {line.problem}")
                continue
            records += 1
            refused_by = [rule for rule, keeps in RULES.items() if not keeps(line.record, settings)]
            alone.update(RULES.keys() - refused_by)
            reasons[refused_by[0] if refused_by else None] += 1

    print(f"{path}: {records:,} records, {malformed:,} malformed lines")
    for problem in examples:
        print(f"  {problem[:200]}")
    print(f"{'rule':<12}{'keeps alone':>16}{'':>9}{'drops in order':>18}{'left':>14}{'':>9}")
    left = records
    for rule in RULES:
        left -= reasons[rule]
        print(
            f"{rule:<12}{alone[rule]:>16,}{_share(alone[rule], records):>9}"
            f"{reasons[rule]:>18,}{left:>14,}{_share(left, records):>9}"
        )
    return 0


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


if __name__ == "__main__":
    run_command(main)
