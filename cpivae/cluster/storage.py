"""Which file system a path is on, and whether other machines see it: asked of the system's table of mounts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

SHARED = re.compile(
    r"(fuse\.)?(nfs4?|lustre|gpfs|beegfs\w*|ceph|cephfs|cifs|smb3|9p|glusterfs|afs|panfs|wekafs|orangefs|pvfs2|sshfs)"
)
"""Kinds of file systems that machines share."""
_NEVER_SHARED = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))


@dataclass(frozen=True)
class Mount:
    """A mounted file system."""

    point: Path
    kind: str
    source: str
    options: frozenset[str]


def mounts(table: str) -> list[Mount]:
    """Read a table such as /proc/self/mountinfo."""
    found = []
    for line in table.splitlines():
        before, _, after = line.partition(" - ")
        _, _, _, _, point, options, *_ = before.split(" ")
        kind, source, *_ = after.split(" ")
        found.append(Mount(Path(_plain(point)), kind, _plain(source), frozenset(options.split(","))))
    return found


def _plain(escaped: str) -> str:
    r"""Replace what the kernel writes for blanks.

    >>> _plain(r"/my\040data")
    '/my data'
    """
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), escaped)


def mount_of(path: Path, table: Path = Path("/proc/self/mountinfo")) -> Mount | None:
    """Return the file system that holds a path; None where the system does not tell."""
    if not table.is_file():
        return None
    resolved = path.resolve()
    holding = [m for m in mounts(table.read_text()) if resolved.is_relative_to(m.point)]
    # Of several at one place, the last one hides the others.
    return max(enumerate(holding), key=lambda m: (len(m[1].point.parts), m[0]))[1] if holding else None


def not_shared(paths: Iterable[Path], shared: Sequence[Path]) -> list[str]:
    """Say of which paths other nodes see nothing, or may not; ``shared`` are folders that they do see."""
    vouched = [folder.resolve() for folder in shared]
    told: dict[Path, str] = {}
    for path in sorted({path.resolve() for path in paths}):
        if any(path.is_relative_to(folder) for folder in [*vouched, *told]):
            continue
        never = next((folder for folder in _NEVER_SHARED if path.is_relative_to(folder)), None)
        mount = mount_of(path)
        if never:
            why = f"is in {never}, which every node has of its own"
        elif mount is not None and not SHARED.fullmatch(mount.kind):
            why = f"looks like this machine's own ({mount.kind}), and nodes would not see it"
        else:
            continue
        told[path] = f"{path} {why}: move it to a folder that all nodes see, or vouch for one with --shared"
    return list(told.values())
