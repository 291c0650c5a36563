"""The sweep folder: what is in it, and how its best trial is found and kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cpivae.config.load import make_config, to_plain, to_yaml, with_values
from cpivae.config.schema import Config
from cpivae.config.space import leaves
from cpivae.config.yaml import dump_yaml, read_yaml_mapping
from cpivae.errors import FolderError
from cpivae.files import write_text
from cpivae.names import Goal, RunFiles
from cpivae.training.folder import RunFolder
from cpivae.training.resume import has_whole_state
from cpivae.tuning.causes import cause_of
from cpivae.tuning.record import Failure, TrialRecord, best_of, ranked, read_trials, trial_name, write_trials


@dataclass(frozen=True)
class SweepFolder:
    """A folder of one sweep."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> SweepFolder:
        """Return an existing sweep folder.

        Raises
        ------
        FolderError
            ``path`` is none.
        """
        folder = cls(path)
        missing = [p.name for p in (folder.settings_file, folder.trials_file) if not p.is_file()]
        if missing:
            raise FolderError(f"{path} is not a sweep folder: it lacks {', '.join(missing)}.")
        return folder

    @property
    def settings_file(self) -> Path:
        return self.path / "sweep.yaml"

    @property
    def trials_file(self) -> Path:
        return self.path / "trials.csv"

    @property
    def best_config(self) -> Path:
        return self.path / "best_config.yaml"

    @property
    def best_bundle(self) -> Path:
        return self.path / "best"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def study(self) -> Path:
        return self.path / "study.db"

    @property
    def ray(self) -> Path:
        return self.path / "ray"

    @property
    def confirming(self) -> Path:
        """The sweep in which the best trials are trained again; see :mod:`cpivae.tuning.confirm`."""
        return self.path / "confirm"

    @property
    def confirmation_file(self) -> Path:
        return self.path / "confirmed.json"

    @property
    def journal(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def trials(self) -> Path:
        return self.path / "trials"

    @property
    def errors(self) -> Path:
        return self.path / "errors"

    def traceback(self, number: int) -> Path:
        """Return the file that takes the traceback of a trial that fails."""
        return self.errors / f"{trial_name(number)}.txt"

    def cause_of_failure(self, number: int) -> tuple[Failure, str]:
        """Return the class of a failure and its cause, as the trial's process has left them."""
        try:
            return cause_of(self.traceback(number).read_text(encoding="utf-8"))
        except OSError:
            return cause_of("")

    def set_aside(self, number: int) -> RunFolder | None:
        """Make way for a trial's run folder; return an interrupted run that it can go on from, if there is one."""
        current, aside = self.trials / trial_name(number), self.trials / f".{trial_name(number)}"
        # A trial that was interrupted soon after it had been continued goes on from what it was continued from.
        if has_whole_state(RunFolder(current)):
            shutil.rmtree(aside, ignore_errors=True)
            current.rename(aside)
        elif current.is_dir():
            shutil.rmtree(current)
        earlier = RunFolder(aside)
        if has_whole_state(earlier):
            return earlier
        shutil.rmtree(aside, ignore_errors=True)
        return None

    def clear_state(self, record: TrialRecord) -> None:
        """Remove what only a trial that is to be continued needs."""
        shutil.rmtree(self.trials / f".{record.folder}", ignore_errors=True)
        for state in self.trial(record).checkpoints.glob(f"{Path(RunFiles.STATE).stem}*"):
            state.unlink()

    def trial(self, record: TrialRecord) -> RunFolder:
        """Return a trial's run folder."""
        return RunFolder(self.trials / record.folder)

    def create(self) -> None:
        """Make the folder."""
        self.trials.mkdir(parents=True)
        self.write_trials([])

    def describe(self, config: Config, described: dict[str, Any]) -> None:
        """Write ``sweep.yaml``: the resolved settings and what else decides the outcome."""
        write_text(self.settings_file, dump_yaml({"config": to_plain(config), **described}))

    def require_same(self, config: Config, described: dict[str, Any]) -> None:
        """Refuse to go on with other settings, another space or other data than the sweep began with.

        Raises
        ------
        FolderError
            Naming what differs.
        """
        then = read_yaml_mapping(self.settings_file)
        plain = to_plain(config)
        told = _differences("", then.get("config", {}), plain, _MAY_CHANGE)
        told += _differences("space: ", then.get("space", {}), described["space"])
        if then.get("fingerprint") != described["fingerprint"]:
            told.append("the tables, their samples or their splits are others")
        began_with = then.get("config", {}).get("tuning", {}).get("n_trials", 0)
        if plain["tuning"]["n_trials"] < began_with:
            told.append(f"tuning.n_trials: {began_with} then, {plain['tuning']['n_trials']} now; it may only grow")
        if then.get("proposals", []) != described["proposals"]:
            told.append("the trials to be looked at again are others")
        if told:
            raise FolderError(
                f"{self.path} cannot be resumed with this command, because trials of both could not be compared:\n"
                + "\n".join(f"  - {line}" for line in told)
            )

    def config(self) -> Config:
        """Return the sweep's resolved base settings."""
        return make_config(read_yaml_mapping(self.settings_file).get("config", {}), str(self.settings_file))

    def goal(self) -> Goal:
        """Return what trials are judged by."""
        return self.config().tuning.goal()

    def records(self) -> list[TrialRecord]:
        """Return all trials."""
        return read_trials(self.trials_file)

    def confirmation(self) -> dict[str, Any]:
        """Return what ``confirm`` has found; nothing where it has not been asked, or trials have ended since."""
        if not self.confirmation_file.is_file():
            return {}
        found: dict[str, Any] = json.loads(self.confirmation_file.read_text(encoding="utf-8"))
        return found if found["n_trials"] == ended(self.records()) else {}

    def ended_by(self) -> str:
        """Return what ended the sweep before all its trials were done; empty if nothing did, or it is not known."""
        if not self.summary.is_file():
            return ""
        return str(json.loads(self.summary.read_text(encoding="utf-8"))["ended_early"])

    def best(self) -> TrialRecord:
        """Return the confirmed winner where there is one, otherwise the best trial by the one selection rule."""
        records, confirmed = self.records(), self.confirmation()
        if confirmed:
            return next(r for r in records if r.number == confirmed["winner"])
        return best_of(records, self.goal())

    def write_trials(self, records: list[TrialRecord]) -> None:
        """Write ``trials.csv``."""
        write_trials(records, self.trials_file)

    def write_best_config(self, record: TrialRecord) -> None:
        """Write the best trial's settings, so that ``train`` repeats it to the epoch."""
        config = self.trial(record).config()
        if record.state != "complete":
            config = with_values(config, {"training.stop_epoch": record.epochs})
        write_text(self.best_config, to_yaml(config))

    def drop_weights(self, records: list[TrialRecord], keep: int, goal: Goal) -> None:
        """Remove the weights of all ended trials but the ``keep`` best."""
        kept = {r.number for r in ranked(records, goal)[:keep]}
        for record in records:
            if record.state != "running" and record.number not in kept:
                folder = self.trial(record)
                for weights in (folder.final_model, *folder.checkpoints.glob(f"*{Path(RunFiles.LAST).suffix}")):
                    weights.unlink(missing_ok=True)


def ended(records: Sequence[TrialRecord]) -> int:
    """Count the trials that nothing more will happen to."""
    return sum(r.state not in ("running", "interrupted") for r in records)


_MAY_CHANGE = (
    "tuning.n_trials",
    "tuning.max_concurrent",
    "tuning.keep_weights",
    "tuning.checkpoint_seconds",
    "tuning.timeout_minutes",
    "tuning.time_budget",
    "tuning.gpu_hours",
    "tuning.patience",
)
"""Settings that have no part in what a trial comes to."""


def _differences(kind: str, then: dict[str, Any], now: dict[str, Any], but: tuple[str, ...] = ()) -> list[str]:
    before, after = dict(leaves(then)), dict(leaves(now))
    paths = [path for path in dict.fromkeys([*before, *after]) if path not in but]
    return [
        f"{kind}{path}: {before.get(path, 'absent')} then, {after.get(path, 'absent')} now"
        for path in paths
        if before.get(path) != after.get(path)
    ]
