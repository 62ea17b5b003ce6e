"""What every command shares: --config and --set, and how it ends."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.paths import DEFAULT_CONFIG
from common.settings.load import Settings, load_settings


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """The two options that every command shares."""
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="configuration file (default: config.json)")
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override one key, e.g. --set train.seq_len=512 --set vocab_size=8192 (repeatable)",
    )


def settings_from_args(args: argparse.Namespace, **flags: Any) -> Settings:
    """Settings of a parsed command line; `flags` maps `section__key` to a flag's value (None: not given)."""
    overrides = list(args.overrides)
    for name, value in flags.items():
        if value is not None:
            if isinstance(value, Path):  # a flag's path is the caller's; only the configuration's start at ROOT
                value = str(value.absolute())
            overrides.append(f"{name.replace('__', '.')}={json.dumps(value)}")
    return load_settings(args.config, overrides)


def repeated_flags(args: argparse.Namespace, but: str | None = None) -> str:
    """The --config and --set of this command (all but the key `but`), for the commands that it proposes to run next."""
    flags = [] if args.config == DEFAULT_CONFIG else ["--config", str(args.config)]
    for override in args.overrides:
        if override.partition("=")[0].strip() != but:
            flags += ["--set", override]
    return "".join(f" {shlex.quote(flag)}" for flag in flags)


def run_command(main: Callable[[], int]) -> typing.NoReturn:
    """Run a script's `main`: a UserError, or a file that cannot be used, is one line on stderr and exit status 2."""
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader (`| head`) has gone; nothing is left to tell it
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:  # no space, no permission, a folder where a file should be
        if error.errno is None:
            raise
        place = f"{error.filename}: " if error.filename else ""
        print(f"error: {place}{error.strerror} (errno {error.errno}); put that right, then run again", file=sys.stderr)
        sys.exit(2)
