"""Python, packages, and whether torch and the driver of the GPU fit together."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import warnings
from collections.abc import Iterator, Sequence
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from cpivae.cluster.doctor.finding import Finding, first_line, last_line

_SHOWN = ("torch", "pytorch-lightning", "ray", "optuna")
_SECONDS = 20


def python() -> Iterator[Finding]:
    """Compare the interpreter with what the package asks for."""
    here = platform.python_version()
    if _version("cpivae") is None:
        yield Finding("note", f"Python {here}; cpivae is run from its folder, without being installed")
        return
    needed = metadata.metadata("cpivae")["Requires-Python"]
    if SpecifierSet(needed).contains(here, prereleases=True):
        yield Finding("ok", f"Python {here}; {needed} is needed")
    else:
        yield Finding("WRONG", f"Python {here}, but {needed} is needed", "make an environment with a newer Python")


def packages() -> Iterator[Finding]:
    """Compare the installed packages with the requirements of cpivae, and with those of the extras they name."""
    if _version("cpivae") is None:
        yield Finding(
            "WRONG", "cpivae is not installed, so what it needs is not known here", "in its folder: pip install -e ."
        )
        return
    needed = list(_needed("cpivae"))
    for requirement in list(needed):
        if requirement.extras and _version(requirement.name):
            needed += _needed(requirement.name, sorted(requirement.extras))
    wrong = [finding for requirement in needed if (finding := _unmet(requirement))]
    yield from wrong
    if not wrong:
        shown = ", ".join(f"{name} {_version(name)}" for name in _SHOWN)
        yield Finding("ok", f"{len({r.name for r in needed})} packages have versions that fit, among them {shown}")


def _needed(package: str, extras: Sequence[str] = ("",)) -> Iterator[Requirement]:
    """Yield what a package with these extras requires on this system."""
    for text in metadata.requires(package) or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
            yield requirement


def _unmet(requirement: Requirement) -> Finding | None:
    version, advice = _version(requirement.name), f"pip install '{str(requirement).partition(';')[0].strip()}'"
    if version is None:
        return Finding("WRONG", f"{requirement.name} is not installed", advice)
    if not requirement.specifier.contains(version, prereleases=True):
        what = f"{requirement.name} {version} is installed, but {requirement.specifier} is needed"
        return Finding("WRONG", what, advice)
    return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def lightning() -> Iterator[Finding]:
    """Look for the other package that Lightning is published as."""
    other = _version("lightning")
    if other is None:
        yield Finding("ok", "no second Lightning beside pytorch-lightning")
    else:
        yield Finding(
            "note",
            f"lightning {other} is installed beside pytorch-lightning, and callbacks of one fail in a trainer of the "
            "other",
            "cpivae uses the latter; if nothing of yours needs the former, pip uninstall lightning",
        )


def gpu() -> Iterator[Finding]:
    """Compare the GPUs that the driver sees with those that torch can compute on."""
    import torch

    from cpivae.training.hardware import cpus, gpus

    there, trouble = _seen_by_the_driver()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        usable = gpus() if torch.cuda.is_available() else 0
    build = f"torch {torch.__version__}"
    if trouble:
        yield Finding("WRONG", f"nvidia-smi says: {trouble}", "load or reinstall the driver, or restart the machine")
    for number in range(usable):
        yield _computes(torch.cuda.get_device_name(number), f"cuda:{number}", build)
    if usable or trouble:
        return
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not there:
        yield Finding("ok", f"no NVIDIA GPU on this machine; {build} uses its {cpus()} CPU(s)")
    elif torch.version.cuda is None:
        yield Finding(
            "WRONG",
            f"{build} was built without CUDA and cannot use {'; '.join(there)}",
            "install the build for your driver, as https://pytorch.org/get-started/locally says",
        )
    elif hidden is not None:
        yield Finding("note", f"{'; '.join(there)} hidden from torch by CUDA_VISIBLE_DEVICES={hidden!r}")
    else:
        why = first_line(told[0].message) if told else "torch gives no reason"
        yield Finding(
            "WRONG",
            f"{build} (CUDA {torch.version.cuda}) cannot use {'; '.join(there)}, {why}",
            "install a newer driver, or a torch that was built for an older CUDA",
        )


def _seen_by_the_driver() -> tuple[list[str], str]:
    """Return the GPUs as nvidia-smi names them, or what it complains of."""
    if shutil.which("nvidia-smi") is None:
        return [], ""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return [], f"nothing in {_SECONDS} s"
    if answer.returncode:
        return [], last_line(answer.stdout + answer.stderr) or f"nothing, and ends with status {answer.returncode}"
    lines = [line.rpartition(",") for line in answer.stdout.splitlines() if line.strip()]
    return [f"{name.strip()} (driver {driver.strip()})" for name, _, driver in lines], ""


def _computes(name: str, device: str, build: str) -> Finding:
    import torch

    try:
        (torch.ones(2, device=device) * 2).sum().item()
    except RuntimeError as error:
        why = first_line(error)
        return Finding("WRONG", f"{build} fails on {name} ({device}), {why}", "see who uses it, or try another build")
    return Finding("ok", f"{build} computes on {name} ({device})")
