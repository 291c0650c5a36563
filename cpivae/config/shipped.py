"""Finding the YAML files that come with the program, from a checkout or an installed wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import cpivae
from cpivae.config.variants import plain
from cpivae.errors import ConfigError, did_you_mean

Kind = Literal["configs", "search_spaces"]


def shipped_folder(kind: Kind) -> Path:
    """Return the folder of shipped files: inside the package when installed, beside it in a checkout."""
    package = Path(cpivae.__file__).parent
    installed = package / kind
    return installed if installed.is_dir() else package.parent / kind


def find_shipped(source: str | Path, kind: Kind, folder: Path = Path()) -> Path:
    """Return the path of a file, or of the shipped file with that name (``default``, or ``configs/default.yaml``).

    Names of shipped files may be spelt as those of variants may.  ``folder`` is where relative paths start.

    Raises
    ------
    ConfigError
        There is neither; the message lists the names that are shipped.
    """
    path = Path(source)
    if (folder / path).is_file():
        return folder / path
    known = sorted(p.stem for p in shipped_folder(kind).glob("*.yaml"))
    name = plain(path.stem) if path.parent in (Path(), Path(kind)) else ""
    named = {plain(stem): stem for stem in known}
    if name in named:
        return shipped_folder(kind) / f"{named[name]}.yaml"
    hint = did_you_mean(path.stem, known)
    raise ConfigError(
        str(source), [f"there is no such file, nor a shipped one of that name.{hint} Shipped: {', '.join(known)}"]
    )
