"""What people copy and run beside the commands of the pages: the scripts, the notebook, installing."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import typer
from pages import PAGES, ROOT, commands_of, words_of

from cpivae.cli.main import app

PROGRAM = Path(sys.executable).parent / "cpivae"
COMMANDS = sorted(typer.main.get_command(app).commands)
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))


def test_the_readme_shows_the_two_scripts_and_the_four_commands():
    commands = commands_of("README.md")
    assert commands[:2] == ["bash scripts/demo.sh", "bash scripts/test.sh"]
    shown = [c.split()[1] for c in commands if c.startswith("cpivae ")]
    assert shown[:4] == ["tune", "train", "export", "impute"]
    assert set(shown) == set(COMMANDS) - {"submit"}, "every command is shown; that needs a cluster, and has its page"


def test_every_link_of_the_documents_leads_somewhere():
    links = [(ROOT / p, link) for p in PAGES for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / p).read_text())]
    assert len(links) >= 40
    assert [(p.name, link) for p, link in links if not (p.parent / link).exists()] == []


def code_of_the_notebook():
    cells = json.loads((ROOT / "docs" / "python.ipynb").read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_the_notebook_is_the_page_and_was_executed():
    page = "".join(re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL))
    cells = code_of_the_notebook()
    assert "\n\n".join("".join(cell["source"]) for cell in cells).split() == page.split()
    assert all(cell["execution_count"] for cell in cells)
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert "error" not in {output["output_type"] for output in outputs}
    assert sum(output["output_type"] == "execute_result" for output in outputs) >= 4


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_notebook_runs(tmp_path):
    subprocess.run([PROGRAM, "example", "somascan", "--output_dir", "somascan"], cwd=tmp_path, check=True, timeout=100)
    code = "\n".join("".join(cell["source"]) for cell in code_of_the_notebook())
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_command_has_its_script():
    # A file inspect.py would hide Python's own module of that name from all scripts beside it.
    assert [script.stem for script in SCRIPTS] == [command for command in COMMANDS if command != "inspect"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_scripts_take_the_same_options_as_the_commands(script):
    def told(*words):
        return subprocess.run([*words, "--help"], capture_output=True, text=True, timeout=60, check=True).stdout

    said = told(sys.executable, script)
    assert said == told(PROGRAM, script.stem)
    assert f"Usage: cpivae {script.stem} [OPTIONS]" in said


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
def test_what_the_readme_installs_carries_configs_and_spaces(tmp_path):
    (install,) = [words_of(command) for command in commands_of("README.md") if "constraints.txt" in command]
    unpacked = tmp_path / "unpacked"
    elsewhere = ("--no-deps", "--quiet", "--target", unpacked)
    subprocess.run([sys.executable, "-m", *install, *elsewhere], cwd=ROOT, check=True, timeout=200)
    assert (unpacked / "cpivae" / "report" / "assets" / "page.html").is_file()
    script = (
        "import cpivae; from cpivae.config.load import load_config; from cpivae.config.space import load_space\n"
        "config = load_config('default'); load_space('joint_vae', config); print(cpivae.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(unpacked)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith(str(unpacked))
