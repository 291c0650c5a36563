"""The token without which nobody may talk to Ray: who has it may run code as the user, so nobody else can read it."""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cpivae.errors import FolderError


def make_private_token() -> None:
    """Make the token that Ray would make where there is none, but for its owner alone: Ray's has mode 0644.

    Raises
    ------
    FolderError
        One is there that others may know.
    """
    require_private_token()
    path = _of_ray()
    if path is None or path.exists():
        return
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with new_token(path.parent) as beside, suppress(FileExistsError):  # another sweep was quicker
        os.link(beside, path)


@contextmanager
def new_token(folder: Path) -> Iterator[Path]:
    """Yield a file in ``folder`` with a new token, for the user alone; remove it unless the block has moved it."""
    handle, name = tempfile.mkstemp(dir=folder, prefix=".token.")  # of mode 0600
    beside = Path(name)
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(secrets.token_hex(32))
        yield beside
    finally:
        beside.unlink(missing_ok=True)


def require_private_token() -> None:
    """Refuse the token that Ray on this machine would use, if others may know it; see :func:`require_private`."""
    path = _of_ray()
    # A file that is named must be there, or Ray aborts; what is mounted for a program may be a link.
    if path is not None and (path.exists() or path != _made_by_ray()):
        require_private(path.resolve())


def require_private(path: Path) -> None:
    """Refuse a token that others know.

    Raises
    ------
    FolderError
        Its owner is another user, or others may read or write it.
    OSError
        There is none.
    """
    found = path.lstat()
    mode = found.st_mode & 0o777
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid() or others_reach(path, mode):
        raise FolderError(
            f"the token {path} may be known to others (owner {found.st_uid}, mode {mode:04o}), who then can run "
            "code as you while Ray runs: it must be a file of yours, and of mode 0600. If nobody has read it, "
            f"chmod 600 {path} is enough (Ray itself makes it with mode 0644); otherwise remove it, and a new one is "
            "made."
        )


def others_reach(path: Path, mode: int) -> bool:
    """Say whether the group or others, by a file's mode, may read or write it and can enter all folders above it."""
    folders = [folder.stat().st_mode for folder in path.resolve().parents]
    classes = [(0o060, 0o010), (0o006, 0o001)]
    return any(mode & touch and all(folder & enter for folder in folders) for touch, enter in classes)


def _of_ray() -> Path | None:
    """Return the file that Ray takes its token from; None where it takes none from a file."""
    if "RAY_AUTH_TOKEN" in os.environ or os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return None
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(named) if named else _made_by_ray()


def _made_by_ray() -> Path:
    return Path.home() / ".ray" / "auth_token"
