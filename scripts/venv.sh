# Makes .venv with the tested versions and activates it; sourced by the other scripts from the repository root.
# PYTHON chooses the interpreter (3.11 or newer).

venv_python="${PYTHON:-python3}"
if ! "$venv_python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "error: $venv_python is not Python 3.11 or newer. Set PYTHON to one that is, for example PYTHON=python3.12." >&2
  exit 2
fi
if [ ! -x .venv/bin/python ] && ! "$venv_python" -m venv .venv; then
  echo "error: $venv_python cannot make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv" >&2
  exit 2
fi
# shellcheck disable=SC1091
. .venv/bin/activate

# Installing again takes a minute, so it is done only when what is to be installed has changed.
venv_wanted="$(cat pyproject.toml constraints.txt | cksum) $PWD"
if [ "$(cat .venv/installed 2>/dev/null)" != "$venv_wanted" ]; then
  echo "Installing cpivae and its libraries into .venv (once; a few minutes)"
  python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
  echo "$venv_wanted" > .venv/installed
fi
