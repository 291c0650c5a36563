#!/usr/bin/env bash
# All checks: style, types, import rules, tests. "scripts/test.sh fast" leaves out the slow tests.
# Any other arguments go to pytest. Tests run two at a time: many wait for processes to start, or for time limits. What
# fails then runs once more by itself, and fails if it fails again: some of them start a cluster on a machine of two cores.
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
python -m pytest --numprocesses 2 --dist loadfile "$@" ||
  python -m pytest --last-failed --last-failed-no-failures none "$@"
