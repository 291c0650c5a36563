"""Whether a job queues again: for what another start can mend, as long as the starts get somewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cpivae.cluster.again import again, cancelled, epochs_of


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    (tmp_path / "cluster").mkdir()
    return tmp_path


def trained(sweep: Path, epochs: int) -> None:
    with (sweep / "journal.jsonl").open("a") as journal:
        journal.write('{"time":1,"event":"began","trial":0}\n')
        for _ in range(epochs):
            journal.write('{"time":1,"event":"epoch","trial":0,"epoch":0,"score":0.5}\n')


@pytest.mark.parametrize(
    ("status", "wanted"), [(0, False), (1, False), (2, False), (75, True), (134, True), (137, True)]
)
def test_only_an_interrupted_or_killed_driver_is_started_again(sweep: Path, status: int, wanted: bool) -> None:
    trained(sweep, 3)
    assert again(sweep, "7", status, 0, 20)[0] is wanted


def test_two_restarts_without_a_new_epoch_are_the_last(sweep: Path) -> None:
    trained(sweep, 3)
    assert again(sweep, "7", 75, 0, 20)[0]
    assert again(sweep, "7", 75, 1, 20)[0]
    yes, why = again(sweep, "7", 75, 2, 20)
    assert not yes
    assert "2 restarts have brought no new epoch" in why


def test_an_epoch_in_between_begins_the_count_anew(sweep: Path) -> None:
    answers = []
    for restart, epochs in enumerate([0, 0, 1, 0, 0]):
        trained(sweep, epochs)
        answers.append(again(sweep, "7", 75, restart, 20)[0])
    assert answers == [True, True, True, True, False]


def test_a_job_that_is_handed_over_anew_begins_the_count_anew(sweep: Path) -> None:
    for restart in range(3):
        again(sweep, "7", 75, restart, 20)
    assert again(sweep, "7", 75, 0, 20)[0]


def test_what_another_job_of_the_sweep_knew_does_not_count(sweep: Path) -> None:
    again(sweep, "7", 75, 0, 20)
    again(sweep, "7", 75, 1, 20)
    assert again(sweep, "8", 75, 1, 20)[0], "its first start was ended by SLURM, which asks nobody"


def test_there_is_an_end_to_it(sweep: Path) -> None:
    trained(sweep, 1)
    assert again(sweep, "7", 75, 0, 1)[0]
    trained(sweep, 1)
    yes, why = again(sweep, "7", 75, 1, 1)
    assert not yes
    assert "queued again 1 times (max_requeues)" in why


def test_a_cancelled_job_stays_away(sweep: Path) -> None:
    trained(sweep, 1)
    cancelled(sweep / "cluster", "7").touch()
    assert again(sweep, "8", 75, 0, 20)[0], "it is another job that was"
    yes, why = again(sweep, "7", 75, 0, 20)
    assert not yes
    assert "--resume" in why
    assert again(sweep, "7", 75, 0, 20)[0], "as it is when somebody gives its script to sbatch again"


def test_half_a_line_is_no_epoch_and_no_journal_is_none(sweep: Path) -> None:
    assert epochs_of(sweep / "journal.jsonl") == 0
    trained(sweep, 2)
    assert epochs_of(sweep / "journal.jsonl") == 2


def test_as_a_program_it_answers_by_its_status_and_says_why(sweep: Path) -> None:
    trained(sweep, 4)
    for status, answer, why in (("75", 0, "4 epochs are done"), ("2", 1, "status 2")):
        command = [sys.executable, "-m", "cpivae.cluster.again", str(sweep), "7", status, "0", "20"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == answer
        assert why in done.stdout
