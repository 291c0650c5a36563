"""What people copy and run: the README's commands, the scripts, the wheel."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = Path(sys.executable).parent / "cpivae"
COMMANDS = ("tune", "train", "check", "confirm", "export", "impute", "models", "example")


def readme_commands():
    """All command lines of the README's shell blocks, continued lines joined."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.strip() and not line.startswith("#")]


def small_table(path, prefix, n_features, seed):
    random = np.random.default_rng(seed)
    factors = np.random.default_rng(0).normal(size=(60, 3))
    values = factors @ random.normal(size=(3, n_features)) + random.normal(size=(60, n_features))
    frame = pd.DataFrame(values, [f"S{i}" for i in range(60)], [f"{prefix}{i}" for i in range(n_features)])
    frame.to_csv(path, index_label="SampleID")


def test_the_readme_shows_the_two_scripts_and_the_four_commands():
    commands = readme_commands()
    assert commands[:2] == ["bash scripts/demo.sh", "bash scripts/test.sh"]
    shown = [c.split()[1] for c in commands if c.startswith("cpivae ")]
    assert shown[:4] == ["tune", "train", "export", "impute"]
    assert set(shown) == set(COMMANDS), "every command of the program is shown"


def test_every_link_of_the_documents_leads_somewhere():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    links = [(p, link) for p in pages for link in re.findall(r"\]\(([^)#:]+)\)", p.read_text())]
    assert len(links) >= 40
    assert [(p.name, link) for p, link in links if not (p.parent / link).exists()] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_commands_of_the_readme_run_as_written(tmp_path):
    small_table(tmp_path / "A.csv", "a", 8, seed=1)
    small_table(tmp_path / "B.csv", "b", 9, seed=2)
    small_table(tmp_path / "new_a.csv", "a", 8, seed=3)
    ran = 0
    for command in readme_commands():
        if not command.startswith("cpivae "):
            continue
        done = subprocess.run(
            [PROGRAM, *shlex.split(command)[1:]], cwd=tmp_path, capture_output=True, text=True, timeout=800
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        ran += 1
    assert ran >= len(COMMANDS)
    assert pd.read_csv(tmp_path / "imputed_b.csv", index_col=0).shape == (60, 9)


@pytest.mark.parametrize("name", ["train", "tune", "check", "confirm", "export", "impute"])
def test_scripts_take_the_same_options_as_the_commands(name):
    def options(*words):
        done = subprocess.run([*words, "--help"], capture_output=True, text=True, timeout=60, check=True)
        return sorted(set(re.findall(r"--\w+", done.stdout)))

    script = options(sys.executable, ROOT / "scripts" / f"{name}.py")
    assert script == options(PROGRAM, name)
    assert len(script) > 3


def test_hyphens_and_underscores_are_the_same():
    for spelling in ("--output-dir", "--output_dir"):
        done = subprocess.run(
            [PROGRAM, "example", "nothing", spelling, "x"], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 2
        assert "nothing" in done.stderr
        assert "No such option" not in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_ends_with_imputed_samples():
    done = subprocess.run(["bash", ROOT / "scripts" / "demo.sh"], capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
    out = ROOT / re.search(r"== Everything is in (\S+)", done.stdout).group(1)
    for name in ("sweep/trials.csv", "sweep/best_config.yaml", "best/run/test_metrics.json", "bundle/MANIFEST.json"):
        assert (out / name).is_file()
    assert pd.read_csv(out / "imputed_b.csv", index_col=0).shape == (170, 4721)
    shutil.rmtree(out)


@pytest.mark.slow
def test_the_wheel_carries_configs_and_spaces(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", tmp_path, ROOT], check=True, timeout=200
    )
    (wheel,) = tmp_path.glob("cpivae-*.whl")
    unpacked = tmp_path / "unpacked"
    subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, unpacked], check=True)
    script = (
        "import cpivae; from cpivae.config.load import load_config; from cpivae.config.space import load_space\n"
        "config = load_config('default'); load_space('joint_vae', config); print(cpivae.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(unpacked)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith(str(unpacked))
