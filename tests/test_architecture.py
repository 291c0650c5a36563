"""The house rules: who may import whom, how light the command line is, and how long a file may get."""

import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cpivae
from cpivae.config.variants import variant_names

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "cpivae"
SOURCES = sorted(PACKAGE.rglob("*.py"))
HEAVY = (
    "torch",
    "pytorch_lightning",
    "ray",
    "optuna",
    "pandas",
    "sklearn",
    "skops",
    "numpy",
    "pydantic",
    "tensorboard",
)


def run_python(code: str, folder: Path, **variables: str) -> str:
    environment = {**os.environ, "HOME": str(folder), "TMPDIR": str(folder), **variables}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def length(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_the_walk_sees_the_package() -> None:
    assert len(SOURCES) >= 50
    assert {"errors.py", "schema.py", "preprocess.py", "run.py", "sweep.py", "main.py"} <= {p.name for p in SOURCES}


def test_import_contracts_are_kept(tmp_path: Path) -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    command = [lint, "--config", ROOT / "pyproject.toml", "--cache-dir", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    kept, broken = map(int, re.findall(r"Contracts: (\d+) kept, (\d+) broken", done.stdout)[0])
    assert (kept >= 2, broken) == (True, 0)


def test_the_command_line_starts_without_anything_heavy(tmp_path: Path) -> None:
    code = "import sys, cpivae.cli.main; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = run_python(code, tmp_path).split()
    assert "typer" in loaded
    assert set(HEAVY) & set(loaded) == set()


def test_checking_settings_needs_no_networks(tmp_path: Path) -> None:
    code = (
        "import sys; from cpivae.config.variants import variant_names\n"
        "from cpivae.config.load import make_config\n"
        "from cpivae.config.space import load_space\n"
        "for name in variant_names(): make_config({'model': {'model_type': name}}, name)\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    loaded = run_python(code, tmp_path).split()
    assert "pydantic" in loaded
    assert {"torch", "ray", "optuna", "pytorch_lightning", "pandas", "sklearn"} & set(loaded) == set()


def test_a_job_that_is_out_of_time_does_not_wait_for_networks(tmp_path: Path) -> None:
    code = "import sys, cpivae.cluster.again; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    assert {"torch", "ray", "optuna", "pytorch_lightning", "sklearn"} & set(run_python(code, tmp_path).split()) == set()


@pytest.mark.slow
def test_importing_every_module_makes_no_files_and_prints_nothing(tmp_path: Path) -> None:
    modules = [m.name for m in pkgutil.walk_packages(cpivae.__path__, "cpivae.") if not m.name.endswith("__main__")]
    assert len(modules) >= 50
    code = "import importlib\nfor name in " + repr(modules) + ": importlib.import_module(name)"
    # torch makes its compiler's cache folder when it is imported; that one is not ours.
    elsewhere = str(tmp_path.with_name(f"{tmp_path.name}_of_torch"))
    assert run_python(code, tmp_path, PYTHONDONTWRITEBYTECODE="1", TORCHINDUCTOR_CACHE_DIR=elsewhere) == ""
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_source_file_is_long(path: Path) -> None:
    assert length(path) <= 300


def test_a_variant_is_a_recipe_of_a_page_or_two() -> None:
    recipes = [p for p in (PACKAGE / "models" / "zoo").glob("*.py") if p.name != "__init__.py"]
    assert len(recipes) >= len(variant_names())
    assert {p.name: length(p) for p in recipes if length(p) > 90} == {}


def test_nothing_of_ours_unpickles_or_evaluates() -> None:
    unpickling = r"pickle\.loads?\(|joblib\.load|weights_only=False|yaml\.\w*load\((?!text, Loader=_Loader)"
    forbidden = re.compile(unpickling + r"|(?<!\.)\b(eval|exec)\(")
    assert {p.name for p in SOURCES if forbidden.search(p.read_text(encoding="utf-8"))} == set()
