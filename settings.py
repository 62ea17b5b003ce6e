"""Print the resolved configuration of a command, checked: what `config.json` and --set come to.

    python settings.py --config config.json --set train.seq_len=512

What each knob means, its type and its limits are in common/settings/, one file a section.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # of this checkout, whatever else is installed
    sys.path.insert(0, str(Path(__file__).resolve().parent))

from common.cli import add_config_arguments, run_command, settings_from_args


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Check a configuration and print it resolved.",
        epilog="example: python settings.py --config examples/quickstart/config.json --set train.seq_len=128",
    )
    add_config_arguments(parser)
    print(json.dumps(settings_from_args(parser.parse_args(argv)).to_dict(), indent=2))
    return 0


if __name__ == "__main__":
    run_command(main)
