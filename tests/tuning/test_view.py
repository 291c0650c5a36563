"""What a sweep looks like while it runs: the numbers against the ledger's, the frame at many sizes, the bytes."""

from __future__ import annotations

import io
import os
import pty
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from cpivae.config.load import make_config
from cpivae.config.schema import Config
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.journal import Event, Journal, read_journal
from cpivae.tuning.ledger import Ledger
from cpivae.tuning.place import Node, Place
from cpivae.tuning.progress import sweep_progress
from cpivae.tuning.record import BASE, ranked
from cpivae.tuning.summary import summarise
from cpivae.tuning.tally import Tally
from cpivae.tuning.view import View

EPOCHS = 30
NODES = Place((Node(8, 2), Node(8, 2)))
STATES = ("running", "waiting", "complete", "stopped", "diverged", "failed", "to come", "interrupted")


class QuickJournal(Journal):
    """Waits for no disk."""

    def write(self, event: Event, *, lasting: bool = True) -> Event:  # noqa: ARG002
        return super().write(event, lasting=False)


class Sweep:
    """Trials that run side by side and end in every way there is."""

    def __init__(self, path: Path, n_trials: int, seed: int = 0, **tuning: Any) -> None:
        self.dice, self.n_trials = random.Random(seed), n_trials
        folder = SweepFolder(path)
        if not folder.trials.is_dir():
            folder.create()
        self.config: Config = make_config(
            {"tuning": {"n_trials": n_trials, "max_epochs": EPOCHS, "gpus_per_trial": 0.5, **tuning}}, "test"
        )
        self.journal = QuickJournal(folder.journal)
        self.ledger = Ledger(folder, self.config.tuning.goal(), None, self.journal)
        self.ledger.replay(read_journal(folder.journal))
        self.waiting = [course.record.number for course in self.ledger.unfinished()]
        self.running: list[int] = []

    def close(self) -> None:
        self.journal.close()

    def tally(self) -> Tally:
        return Tally(self.ledger, self.config.tuning, NODES)

    def step(self, workers: int = 6) -> bool:
        """Let something happen; say whether anything could."""
        dice, ledger = self.dice, self.ledger
        if len(self.running) < workers and len(ledger.courses) < self.n_trials:
            number = len(ledger.courses)
            ledger.propose(number, settings(dice) if number else {}, number, "tpe" if number else BASE)
            self.waiting.append(number)
        if len(self.running) < workers and self.waiting:
            ledger.begin(self.waiting[0])
            self.running.append(self.waiting.pop(0))
            return True
        if not self.running:
            return False
        number = dice.choice(self.running)
        record = ledger.courses[number].record
        chance = dice.random()
        if record.epochs == EPOCHS or (record.epochs and record.epochs % 5 == 0 and chance < 0.5):
            ledger.end(number, "complete" if record.epochs == EPOCHS else "stopped")
        elif chance < 0.01:
            ledger.end(number, "diverged", "diverged", "a loss was no longer finite in epoch 3")
        elif chance < 0.03:
            kind = dice.choice(["lost_worker", "out_of_memory", "code_error"])
            if ledger.fail(number, kind, "RuntimeError: shapes\n\x1b[2J do not fit, and much more is said about it"):
                self.waiting.append(number)
        else:
            score = max(record.score or -1.0, dice.uniform(0.2, 0.6))
            best = record.epochs if score != record.score else record.best_epoch
            ledger.epoch(number, record.epochs, score, best)
            return True
        self.running.remove(number)
        return True


def settings(dice: random.Random) -> dict[str, Any]:
    return {
        "model.encoder_layers": [dice.choice([256, 1024]) for _ in range(dice.randint(0, 9))],
        "model.latent_dim": dice.choice([16, 32]),
        "loss_weights.kl_divergence_ramp.shape": "cyclical",
        "loss_weights.an_unusually_long_name_of_a_weight_that_somebody_added": 10 ** dice.uniform(-6, 0),
        "model.linear_skip": dice.choice(["none", "ridge"]),
        "training.learning_rate": 10 ** dice.uniform(-4, -2),
    }


@pytest.fixture
def sweeps(tmp_path: Path) -> Iterator[Any]:
    opened: list[Sweep] = []

    def make(n_trials: int, **more: Any) -> Sweep:
        opened.append(Sweep(tmp_path / "sweep", n_trials, **more))
        return opened[-1]

    yield make
    for sweep in opened:
        sweep.close()


def plain(lines: list[str]) -> list[str]:
    return [re.sub(r"\x1b\[[\d;]*m", "", line) for line in lines]


def states(frame: list[str]) -> Counter[str]:
    text = " ".join(frame).split("epochs")[0].partition("trials    ")[2]
    return Counter({state: int(n) for n, state in re.findall(rf"(\d+) ({'|'.join(STATES)})", text)})


def utf8() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8")


def agree(tally: Tally, sweep: Sweep) -> None:
    """Compare running sums with what is counted from all trials."""
    ledger, tuning = sweep.ledger, sweep.config.tuning
    told = summarise(ledger, sweep.config)
    assert tally.states + Counter(running=len(tally.running) + tally.waiting) == Counter(told["trials"])
    assert tally.epochs == told["epochs"]["trained"]
    assert tally.saved_by_asha == told["epochs"]["saved_by_asha"]
    assert tally.best is next(iter(ranked(ledger.records, tuning.goal())), None)
    assert sorted(tally.running) == sorted(sweep.running)
    alone = sum(ledger.courses[n].alone for n in sweep.running)
    assert tally.in_use() == (len(sweep.running), 0.5 * len(sweep.running) + 0.5 * alone)
    assert [r.number for r in tally.last] == ledger.order_of_ends[:-11:-1]


@pytest.mark.parametrize("metric", ["val_cross_a_corr_mean", "val_total_loss"])
def test_sums_kept_by_event_are_those_over_all_trials_and_a_resumed_sweep_has_them(sweeps: Any, metric: str) -> None:
    sweep = sweeps(90, metric=metric)
    sweep.ledger.start()
    tally = sweep.tally()
    sweep.ledger.listener = tally.hear
    seen: Counter[str] = Counter()
    for i in range(700):
        assert sweep.step()
        if i % 50 == 0:
            agree(tally, sweep)
            scored = [r.score for r in sweep.ledger.records if r.score is not None and not r.failure]
            top = (max if metric == "val_cross_a_corr_mean" else min)(scored, default=None)
            leading = tally.leading()
            assert (leading.score if leading else None) == top
            left = tally.seconds_left()
            assert left is None or left >= 0
    seen.update(tally.states)
    assert {"complete", "stopped", "diverged", "failed"} <= set(seen), seen
    sweep.close()
    again = sweeps(90, metric=metric)
    again.ledger.start()
    resumed = again.tally()
    assert resumed.running == {}
    assert (resumed.epochs, resumed.saved_by_asha, resumed.bests) == (tally.epochs, tally.saved_by_asha, tally.bests)
    again.ledger.listener = resumed.hear
    while again.step():
        pass
    agree(resumed, again)
    assert resumed.ended == 90
    assert resumed.leading() is resumed.best


def test_the_time_left_is_right_where_trials_are_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty trials of 100 s, four at a time with 25 s between two: 1,250 s in all, of which 500 are over."""
    sweep = Sweep(tmp_path / "sweep", 40)
    clock = 1_000_000.0
    monkeypatch.setattr(time, "time", lambda: clock)
    sweep.ledger.start()
    tally = sweep.tally()
    sweep.ledger.listener = tally.hear
    for round_of_four in range(4):
        numbers = range(4 * round_of_four, 4 * round_of_four + 4)
        for number in numbers:
            sweep.ledger.propose(number, {}, 1, "tpe")
            sweep.ledger.begin(number)
        clock += 100
        for number in numbers:
            sweep.ledger.end(number, "complete")
        clock += 25
    assert tally.seconds() == pytest.approx(500)
    assert tally.seconds_left() == pytest.approx(750, rel=0.05)
    sweep.close()


@pytest.mark.parametrize("width", [20, 50, 79, 120, 199])
@pytest.mark.parametrize("height", [6, 12, 23, 60])
def test_a_frame_fits_its_window_and_its_states_sum_up(sweeps: Any, width: int, height: int) -> None:
    sweep = sweeps(40)
    sweep.ledger.start()
    view = View(sweep.tally(), "a_study_of_some_name", utf8())
    sweep.ledger.listener = view.hear
    i = 0
    while sweep.step(workers=14):
        i += 1
        if i % 60 == 1:
            frame = plain(view.draw(width, height))
            assert all(cell_len(line) <= width for line in frame), frame
            assert all(line.isprintable() for line in frame), frame
            if width >= 50:
                assert states(frame).total() == 40, frame
            if height >= 23:
                assert len(frame) <= height, frame
    view.over = True
    frame = plain(view.draw(width, height))
    if width >= 50 and height >= 12:
        best = ranked(sweep.ledger.records, view.tally.goal)[0]
        (line,) = [line for line in frame if line.startswith("best")]
        assert line.split()[1] == f"{best.score:.4f}"
        assert f"trial {best.number}" in line or width == 50
        assert "left" not in frame[0]


def test_a_running_trial_is_seen_moving_and_leads_when_it_is_best(sweeps: Any) -> None:
    sweep = sweeps(4)
    sweep.ledger.start()
    view = View(sweep.tally(), "study", utf8())
    sweep.ledger.listener = view.hear
    sweep.ledger.propose(0, {}, 1, BASE)
    sweep.ledger.begin(0)
    assert "no score yet" in "\n".join(view.draw(79, 23))
    sweep.ledger.epoch(0, 0, 0.25, 0)
    first = plain(view.draw(79, 23))
    sweep.ledger.epoch(0, 1, 0.375, 1)
    second = plain(view.draw(79, 23))
    assert any("1/30" in line and "0.2500" in line for line in first), first
    assert any("2/30" in line and "0.3750" in line for line in second), second
    assert any("0.3750 val_cross_a_corr_mean, trial 0 (running), after 2 epochs" in line for line in second), second
    assert any("1 of 16 CPUs, 0.5 of 4 GPUs on 2 nodes" in line for line in second), second


def test_the_best_trial_is_shown_with_its_settings_how_it_came_to_be_and_the_time_left(
    sweeps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 1_000_000.0
    monkeypatch.setattr(time, "time", lambda: clock)
    sweep = sweeps(7)
    sweep.ledger.start()
    view = View(sweep.tally(), "study", utf8())
    sweep.ledger.listener = view.hear
    for number, score in enumerate([0.2, 0.1, 0.4]):
        values = {"model.latent_dim": 16 + number, "training.learning_rate": 0.00125} if number else {}
        sweep.ledger.propose(number, values, number, "tpe" if number else BASE)
        sweep.ledger.begin(number)
        sweep.ledger.epoch(number, 0, score, 0)
        clock += 120
        sweep.ledger.end(number, "complete")
    frame = plain(view.draw(100, 23))
    at = next(i for i, line in enumerate(frame) if line.startswith("best"))
    assert frame[at].split("   ")[-1] == "▁▁█", "the best so far after each of three trials"
    assert frame[at].startswith("best      0.4000 val_cross_a_corr_mean, trial 2, after 1 epoch   ")
    assert frame[at + 1] == "          latent_dim 18  learning_rate 0.00125"
    assert "3/7 trials  6:00 spent, about 8:00 left" in frame[0], "four more of two minutes each"


def test_nothing_is_drawn_anew_while_nothing_happens(sweeps: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = sweeps(4)
    sweep.ledger.start()
    view = View(sweep.tally(), "study", utf8())
    monkeypatch.setattr(time, "monotonic", lambda: 5.5)
    first = view.draw(79, 23)
    assert view.draw(79, 23) is first
    assert view.draw(99, 23) is not first


def test_five_hundred_trials_write_little_and_clear_nothing(sweeps: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    sweep = sweeps(500)
    sweep.ledger.refresh_table = lambda: None
    sweep.ledger.start()
    ours, theirs = pty.openpty()
    written: list[bytes] = []

    def read() -> None:
        while not written or not written[-1].endswith(b"over\r\n"):
            written.append(os.read(ours, 65536))

    reader = threading.Thread(target=read)
    reader.start()
    began = time.monotonic()
    with os.fdopen(theirs, "w", encoding="utf-8") as stream, redirect_stdout(stream):
        with sweep_progress(sweep.ledger, sweep.config.tuning, NODES, "study"):
            while sweep.step(workers=16):
                time.sleep(0.0002)
        seconds = time.monotonic() - began
        print("over", flush=True)
        reader.join()
    os.close(ours)
    text = b"".join(written).decode()
    assert "500/500 trials" in text
    assert seconds > 1
    assert not re.search(r"\x1b\[[23]J|\x1bc|\x1b\[\?1049", text)
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") <= 4 * seconds + 3
    assert len(text) / seconds < 20_000


@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_elsewhere_it_is_a_line_per_ended_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, term: str
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with closing(Sweep(tmp_path / "sweep", 30)) as sweep:
        sweep.ledger.start()
        with sweep_progress(sweep.ledger, sweep.config.tuning, NODES, "study"):
            ledger = sweep.ledger
            for number in range(3):
                ledger.propose(number, {}, 1, "tpe")
                ledger.begin(number)
            ledger.epoch(1, 0, 0.5, 0)
            ledger.end(1, "stopped")
            ledger.epoch(0, 11, 0.625, 7, score_sd=0.01)
            ledger.fail(2, "code_error", "RuntimeError: [bold]no[/bold]")
            ledger.end(0, "complete")
    assert capsys.readouterr().out.splitlines() == [
        "[ 1/30      0 s] trial    1 stopped   after   1 epochs: 0.5000   best 0.5000 (trial 1)",
        "[ 2/30      0 s] trial    2 failed    after   0 epochs:    -     best 0.5000 (trial 1)"
        "  RuntimeError: [bold]no[/bold]",
        "[ 3/30      0 s] trial    0 complete  after  12 epochs: 0.6250 (sd 0.0100)   best 0.6250 (trial 0)",
    ]
