"""The bundle: a folder with everything that imputing needs, which anyone can check and nobody has to trust.

Weights are safetensors, preprocessing is skops with a list of trusted types, the rest is text: reading a bundle
executes nothing.  ``MANIFEST.json`` holds a checksum for every file, and one for itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

import cpivae
from cpivae.data.scale import Scales, plain_scales, read_scales
from cpivae.errors import BundleError, listed
from cpivae.files import sha256, share_like_a_new_file, write_text
from cpivae.names import MAX_FOLDS, PLATFORMS, RunFiles

MANIFEST: Final = "MANIFEST.json"
WEIGHTS: Final = "weights.safetensors"
METRICS: Final = "metrics.json"
CARD: Final = "README.md"
FORMAT_VERSION: Final = 3
READS: Final = (2, FORMAT_VERSION)
"""Format versions that can be read; version 2 knew nothing of uncertainty."""

FILES: Final = (RunFiles.CONFIG, WEIGHTS, METRICS, CARD)
"""Every file that each bundle has once beside the manifest."""

FITTED: Final = tuple(name(p) for p in PLATFORMS for name in (RunFiles.preprocess, RunFiles.feature_names))
"""Every file that each bundle has for every fold."""

OF_UNCERTAINTY: Final = (RunFiles.FEATURES, RunFiles.CALIBRATION)
"""Files that a bundle has once, unless it was exported where its tables were not."""

OPTIONAL: Final = (RunFiles.LINEAR_SKIP,)
"""Files for every fold that only some models need."""


def write_manifest(folder: Path, n_folds: int, scales: Scales | None = None) -> None:
    """Write the manifest of a folder that holds all other files of a bundle.

    ``scales``: what the training tables were, by platform.
    """
    needed, optional = files_of(n_folds)
    manifest = {
        "format": "cpivae bundle",
        "format_version": FORMAT_VERSION,
        "cpivae_version": cpivae.__version__,
        "folds": n_folds,
        "tables": plain_scales(scales or {}),
        "files": {n: sha256(folder / n) for n in (*needed, *optional) if n in needed or (folder / n).is_file()},
    }
    write_text(folder / MANIFEST, _render(manifest))


def files_of(n_folds: int) -> tuple[list[str], list[str]]:
    """Return the names of the files that a bundle has, and of those that it may have."""
    folds = RunFiles.folds(Path(), n_folds)
    needed, optional = ([str(fold / name) for fold in folds for name in names] for names in (FITTED, OPTIONAL))
    return [*FILES, *needed], [*OF_UNCERTAINTY, *optional]


def verify(folder: Path) -> Scales:
    """Make sure that a bundle is complete and unchanged; return what its training tables were.

    A bundle of an older version does not say that.

    Raises
    ------
    BundleError
        A file is missing or differs from its checksum, or the format version is unknown.
    """
    if not (folder / MANIFEST).is_file():
        raise BundleError(f"the bundle {folder} is incomplete: {MANIFEST} is missing. Export it again.")
    manifest = _read_manifest(folder)
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise BundleError(f"the bundle {folder} is incomplete: {name} is missing. Export it again.")
        if sha256(path) != expected:
            raise BundleError(f"the bundle {folder} is damaged: {name} differs from its checksum. Export it again.")
    return read_scales(manifest.get("tables", {}))


def write_weights(folder: Path, replicas: Sequence[Mapping[str, Tensor]]) -> None:
    """Write the weights of every replica."""
    named = {f"{r}.{name}": w.contiguous() for r, weights in enumerate(replicas) for name, w in weights.items()}
    save_file(named, folder / WEIGHTS)
    share_like_a_new_file(folder / WEIGHTS)  # safetensors writes for its owner only


def read_weights(folder: Path, n_replicas: int) -> list[dict[str, Tensor]]:
    """Return the weights of every replica, by name.

    Raises
    ------
    BundleError
        The file is not what it should be.
    """
    try:
        stored = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise BundleError(f"the bundle {folder} is damaged: {WEIGHTS} cannot be read ({error}).") from None
    by_replica: list[dict[str, Tensor]] = [{} for _ in range(n_replicas)]
    for key, value in stored.items():
        number, _, name = key.partition(".")
        if not number.isdigit() or int(number) >= n_replicas:
            raise BundleError(f"the bundle {folder} is damaged: {WEIGHTS} holds {key}, of no replica. Export it again.")
        by_replica[int(number)][name] = value
    return by_replica


def is_bundle(folder: Path) -> bool:
    """Say whether a folder claims to be a bundle, be it one without its manifest."""
    return (folder / MANIFEST).is_file() or (folder / WEIGHTS).is_file()


def _read_manifest(folder: Path) -> dict[str, Any]:
    raw = (folder / MANIFEST).read_bytes()
    try:
        manifest: dict[str, Any] = json.loads(raw)
        version, n_folds = manifest["format_version"], manifest.get("folds", 0)
        body = {key: value for key, value in manifest.items() if key != "sha256"}
        named = set(manifest["files"])
        needed, optional = files_of(n_folds) if n_folds in range(1, MAX_FOLDS + 1) else ([], [])
        read_scales(manifest.get("tables", {}))
        intact = bool(needed) and raw == _render(body).encode() and set(needed) <= named <= {*needed, *optional}
    except (ValueError, KeyError, TypeError, AttributeError):
        intact, version = False, FORMAT_VERSION
    if version not in READS:
        raise BundleError(
            f"the bundle {folder} has format version {version}; this program reads versions {listed(READS)}. "
            "Install the cpivae version named in its manifest."
        )
    if not intact:
        raise BundleError(f"the bundle {folder} is damaged: {MANIFEST} was changed. Export it again.")
    return manifest


def _render(manifest: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    return json.dumps({**manifest, "sha256": digest}, indent=2) + "\n"
