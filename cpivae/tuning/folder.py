"""The sweep folder: what is in it, and how its best trial is found and kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cpivae.config.load import make_config, to_plain, to_yaml, with_values
from cpivae.config.schema import Config
from cpivae.config.yaml import dump_yaml, read_yaml_mapping
from cpivae.errors import FolderError
from cpivae.files import write_text
from cpivae.names import Goal, RunFiles
from cpivae.training.folder import RunFolder
from cpivae.tuning.record import TrialRecord, best_of, ranked, read_trials, trial_name, write_trials


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
    def study(self) -> Path:
        return self.path / "study.db"

    @property
    def ray(self) -> Path:
        return self.path / "ray"

    @property
    def trials(self) -> Path:
        return self.path / "trials"

    def traceback(self, number: int) -> Path:
        """Return the file that takes the traceback of a trial that fails."""
        return self.path / "errors" / f"{trial_name(number)}.txt"

    def cause_of_failure(self, record: TrialRecord) -> str:
        """Return the last line of a failed trial's traceback."""
        try:
            return self.traceback(record.number).read_text(encoding="utf-8").strip().splitlines()[-1]
        except (OSError, IndexError):
            return "its worker process died"

    def trial(self, record: TrialRecord) -> RunFolder:
        """Return a trial's run folder."""
        return RunFolder(self.trials / record.folder)

    def create(self, config: Config, described: dict[str, Any]) -> None:
        """Make the folder with ``sweep.yaml``: the resolved settings and what else decides the outcome."""
        self.trials.mkdir(parents=True)
        self.write_trials([])
        write_text(self.settings_file, dump_yaml({"config": to_plain(config), **described}))

    def config(self) -> Config:
        """Return the sweep's resolved base settings."""
        return make_config(read_yaml_mapping(self.settings_file).get("config", {}), str(self.settings_file))

    def goal(self) -> Goal:
        """Return what trials are judged by."""
        return self.config().tuning.goal()

    def records(self) -> list[TrialRecord]:
        """Return all trials."""
        return read_trials(self.trials_file)

    def best(self) -> TrialRecord:
        """Return the best trial, by the one selection rule."""
        return best_of(self.records(), self.goal())

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
