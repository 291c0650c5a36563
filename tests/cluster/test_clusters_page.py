"""The commands of the page on clusters, on a real SLURM of the size that the page asks for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from jobs import REPOSITORY
from lab import LOGIN, MakeLab
from pages import commands_of, words_of, write_tables

from cpivae.cli.main import main

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PAGE = "docs/clusters.md"


def of_the_page(beginning: str) -> list[list[str]]:
    return [words_of(command)[1:] for command in commands_of(PAGE) if command.startswith(beginning)]


def test_a_sweep_is_handed_over_looked_at_and_taken_back(make_lab: MakeLab) -> None:
    partition = "PartitionName=gpu Nodes=ALL MaxTime=INFINITE State=UP"
    lab = make_lab(nodes=4, cpus=32, memory_mb=130_000, gpus=4, more=[partition])
    project = lab.shared / "project" / "lab"
    project.mkdir(parents=True)
    write_tables(project, "A.csv", "B.csv")

    def cpivae(*words: str, check: bool = True) -> Any:
        here = [word.replace("/project/lab", str(project)) for word in words]
        return lab.run(
            LOGIN, [sys.executable, "-m", "cpivae", *here],
            env={"PYTHONPATH": str(REPOSITORY)}, cwd=project, check=check, timeout=300,
        )  # fmt: skip

    (submit,) = of_the_page("cpivae submit slurm")
    # The job is held: it would activate an environment that this machine does not have. The lab lies in /tmp.
    added = ("--sbatch", "--hold", "--shared", str(lab.folder))
    assert " is handed over" in cpivae(*submit[:2], *added, *submit[2:]).stdout
    status, logs, cancel = (of_the_page(f"cpivae submit {asked}")[0] for asked in ("status", "logs", "cancel"))
    assert ": pending, " in cpivae(*status).stdout
    assert "it was not running" in cpivae(*cancel).stdout
    assert "it has not started" in cpivae(*logs, check=False).stderr


def test_what_would_be_handed_over_to_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_tables(tmp_path, "tables/A.csv", "tables/B.csv")
    (tmp_path / "ours.yaml").write_text("pip: [cpivae]")
    (submit,) = of_the_page("cpivae submit ray")
    with pytest.raises(SystemExit, match=r"^0$"):
        main([*submit[:2], "--dry_run", *submit[2:]])
    said = capsys.readouterr().out
    assert "--platform_a A.csv --platform_b B.csv" in said, "paths in the folder that is shipped are those of the copy"
    assert "pip:" in said
