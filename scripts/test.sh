#!/usr/bin/env bash
# All checks: style, types, import rules, tests. "scripts/test.sh fast" leaves out the slow tests.
# Any other arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/venv.sh

if [ "${1:-}" = fast ]; then
  shift
  set -- -m "not slow" "$@"
fi
ruff format --check .
ruff check .
mypy
lint-imports
python -m pytest "$@"
