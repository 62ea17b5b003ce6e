"""What a knob changed: the reports of two datasets beside each other.

    python data_prep/report.py --compare dataset_a dataset_b

The report of one dataset is written by prepare_dataset.py; reports/dataset.py makes it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python data_prep/report.py`
    sys.path[0] = str(ROOT)

from common.cli import run_command
from data_prep.screening.reasons import REASONS
from reports.dataset import compare


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Compare the reports of two runs of prepare_dataset.py: knobs, reasons, splits.",
        epilog="example: python data_prep/report.py --compare dataset_a dataset_b",
    )
    parser.add_argument("--compare", nargs=2, type=Path, required=True, metavar=("A", "B"), help="folders of datasets")
    args = parser.parse_args(argv)
    one, other = args.compare
    print(compare(one, other, REASONS))
    return 0


if __name__ == "__main__":
    run_command(main)
