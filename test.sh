#!/usr/bin/env bash
# Set-up where needed, then the tests: bash test.sh [PYTEST OPTIONS], e.g. bash test.sh -m slow
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source tools/setup.sh
set_up tests/requirements.txt
run python -m pytest "$@"
