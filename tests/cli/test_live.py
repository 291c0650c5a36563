"""What people see of ``tune``, ``train`` and ``confirm``, in a terminal and without one: real processes."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyte
import pytest

from cpivae.cli.main import main

pytestmark = pytest.mark.slow

TABLES = ("--config", "default", "--platform_a", "a.csv", "--platform_b", "b.csv", "--set", "training.batch_size=32")
TUNE = (
    *("tune", "--no_report", *TABLES, "--search_space", "space.yaml", "--output_dir", ".", "--study_name", "sweep"),
    *("--n_trials", "12", "--max_epochs", "8", "--no_check"),
)
ESCAPE = "\x1b"
LINE = re.compile(
    r"\[\d/3 +\d+ s\] trial +\d+ (complete |stopped  ) after +\d+ epochs: -?0\.\d{4}   best -?0\.\d{4} \(trial \d+\)"
)


class Terminal:
    """A program in a terminal of its own."""

    def __init__(
        self, folder: Path, words: tuple[str, ...], columns: int = 80, rows: int = 24, **variables: str
    ) -> None:
        self.ours, theirs = pty.openpty()
        self.resize(columns, rows)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cpivae", *words], cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs,
            env=os.environ | {"TERM": "xterm-256color", **variables}, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self.written = b""
        self.screen = pyte.HistoryScreen(columns, rows, history=500)
        self.stream = pyte.ByteStream(self.screen)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, until: Callable[[str], bool] = lambda _: False, seconds: float = 120) -> str:
        """Show what is written until something is seen, or the program has ended; return what is on the screen."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                piece = os.read(self.ours, 65536)
            except OSError:  # it has ended
                return self.text
            self.written += piece
            self.stream.feed(piece)
            if not self.screen.cursor.hidden and until(self.text):  # a frame has been written to its end
                return self.text
        raise AssertionError(f"not seen within {seconds} s:\n{self.text}")

    @property
    def text(self) -> str:
        above = ["".join(row[i].data for i in range(self.screen.columns)) for row in self.screen.history.top]
        return "\n".join(line.rstrip() for line in [*above, *self.screen.display])


@pytest.fixture
def place(tmp_path: Path, write_tables: Callable[..., None]) -> Path:
    write_tables(tmp_path)
    (tmp_path / "space.yaml").write_text(
        "model.latent_dim: {randint: [2, 16]}\ntraining.learning_rate: {loguniform: [1e-4, 1e-2]}\n"
        "model.encoder_layers: {layers: {depth: [0, 4], width: [8, 16]}}\n"
    )
    return tmp_path


def piped(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cpivae", *words], cwd=folder, capture_output=True, text=True, timeout=200
    )


def number_before(word: str, text: str) -> int:
    found = re.findall(rf"(\d+) {word}", text)
    return int(found[0]) if found else 0


def test_a_sweep_in_a_terminal_moves_and_ends_with_a_whole_frame_and_the_result(place: Path) -> None:
    terminal = Terminal(place, TUNE)
    seen = terminal.read(lambda text: bool(re.search(r"[1-9]/12 trials", text)) and "\nrunning  " in text)
    frame = seen[seen.rindex("sweep  ━") :] if "sweep  ━" in seen else seen[seen.rindex("sweep  ─") :]
    assert sum(number_before(s, frame) for s in ("running", "waiting", "complete", "stopped", "to come")) == 12
    assert re.search(r"in use    \d of \d+ CPUs", frame)
    said = terminal.read()
    assert terminal.process.wait(timeout=20) == 0, said
    table = pd.read_csv(place / "sweep" / "trials.csv")
    best = table.loc[table["score"].idxmax()]
    end = said[said.rindex("12/12 trials") :]
    lines = [line for line in end.splitlines() if line]
    assert number_before("complete", end) == (table["state"] == "complete").sum()
    assert number_before("stopped", end) == (table["state"] == "stopped").sum()
    assert (
        f"epochs    {table['epochs'].sum()} done, {(8 - table['epochs'][table['state'] == 'stopped']).sum()} saved"
        in end
    )
    best_of = f"best      {best['score']:.4f} val_cross_a_corr_mean, trial {best['trial']}"
    assert f"{best_of}, after {best['best_epoch'] + 1:.0f} " in end
    finished = [line for line in lines if re.match(r"(finished|  +) +\d+ (complete|stopped)", line)]
    assert len(finished) == 10
    (result,) = [i for i, line in enumerate(lines) if line.startswith("best of 12 trials")]
    assert lines[result - 1] == finished[-1]
    assert f"{best['trial']}, val_cross_a_corr_mean {best['score']:.4f}" in lines[result]
    assert "\x1b[2J" not in terminal.written.decode()
    assert not terminal.screen.cursor.hidden
    assert "Trial status" not in terminal.written.decode()


def test_ctrl_c_leaves_the_last_state_as_text_and_the_cursor(place: Path) -> None:
    terminal = Terminal(place, (*TUNE, "--max_epochs", "200"), NO_COLOR="1", PYTHONIOENCODING="ascii")
    terminal.read(lambda text: "\nrunning  " in text)
    terminal.resize(60, 20)
    terminal.screen.resize(20, 60)
    os.kill(terminal.process.pid, signal.SIGINT)
    said = terminal.read()
    assert terminal.process.wait(timeout=20) == 75, said
    assert re.search(r"\d interrupted", said)
    assert said.index(" interrupted  ") < said.index("error: the sweep ")
    assert not terminal.screen.cursor.hidden
    assert terminal.written.isascii()
    assert b"\x1b[3" not in terminal.written, "no colours"


def test_without_a_terminal_it_is_a_plain_line_per_trial_and_quiet_is_the_result_alone(place: Path) -> None:
    done = piped(place, *TUNE, "--n_trials", "3")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert ESCAPE not in done.stdout + done.stderr
    assert len([line for line in lines if line.startswith("[")]) == 3
    assert all(LINE.fullmatch(line) for line in lines if line.startswith("[")), lines
    confirm = piped(place, "confirm", "--sweep", "sweep", "--top", "1", "--seeds", "1", "--folds", "2", "--quiet")
    assert confirm.returncode == 0, confirm.stderr
    assert confirm.stdout.startswith("val_cross_a_corr_mean over 2 folds x 1 seed that")
    quiet = piped(place, *TUNE, "--study_name", "quiet", "--n_trials", "1", "--quiet")
    assert quiet.returncode == 0
    assert quiet.stdout.splitlines()[0].startswith("best of 1 trials: ")
    assert "[" not in quiet.stdout


def test_a_run_in_a_terminal_has_a_bar_and_without_one_ten_lines(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ("train", *TABLES, "--set", "training.max_epochs=30", "--set", "training.early_stopping_patience=30")
    terminal = Terminal(place, (*train, "--version", "bar"))
    moving = terminal.read(lambda text: bool(re.search(r"[1-9]\d?/30 epochs", text)))
    assert re.search(r"at most \d:\d\d left", moving)
    said = terminal.read()
    assert terminal.process.wait(timeout=20) == 0, said
    history = pd.read_csv(place / "outputs" / "joint_vae_experiment" / "bar" / "metrics.csv")
    assert re.search(r"━+  30/30 epochs  \d:\d\d spent\n", said)
    assert f"last  {history['val_cross_a_corr_mean'].iloc[-1]:.4f} val_cross_a_corr_mean" in said
    best, after = history["val_cross_a_corr_mean"].max(), history["val_cross_a_corr_mean"].idxmax() + 1
    assert f"best  {best:.4f} after {after} " in said
    assert re.search(r"\nbest after \d+ of 30 epochs", said)
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit):
        main([*train, "--version", "lines"])
    plain = capsys.readouterr().out
    assert ESCAPE not in plain
    epochs = [int(n) for n in re.findall(r"^epoch +(\d+)/30  train_total_loss", plain, re.MULTILINE)]
    assert {1, 4, 7, 28, 30} <= set(epochs)
    assert len(epochs) <= 15
    with pytest.raises(SystemExit):
        main([*train, "--version", "quiet", "--quiet", "--set", "training.max_epochs=2"])
    quiet = capsys.readouterr()
    assert quiet.out.startswith(("best after 1 of 2 epochs: ", "best after 2 of 2 epochs: "))
    warned = quiet.err.splitlines()
    assert len(warned) == 2
    assert all(line.startswith("warning: the values of platform ") for line in warned)
