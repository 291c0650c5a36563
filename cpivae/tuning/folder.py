"""The sweep folder: what is in it, and how its best trial is found and kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpivae.config.load import make_config, to_plain, to_yaml, with_values
from cpivae.config.schema import Config
from cpivae.config.yaml import dump_yaml, read_yaml_mapping
from cpivae.errors import ConfigError, FolderError
from cpivae.files import require_new_folder, write_text
from cpivae.names import Goal, RunFiles
from cpivae.tuning import begun
from cpivae.tuning.causes import cause_of
from cpivae.tuning.record import Failure, TrialRecord, best_of, ended, ranked, read_trials, trial_name, write_trials
from cpivae.tuning.same import require_same

if TYPE_CHECKING:  # torch, which a job that only asks what a sweep has done would wait seconds for
    from cpivae.training.again import Again
    from cpivae.training.folder import RunFolder


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
    def name(self) -> str:
        """What people know it by."""
        return str(self.path.resolve())

    @property
    def disk(self) -> Path | None:
        """Where trials take room on a disk of this machine; None if they do not."""
        return self.path

    def bring(self, *, to_run: bool = True) -> None:
        """Have here what is kept elsewhere, where something is."""

    @property
    def settings_file(self) -> Path:
        return self.path / begun.SETTINGS

    @property
    def trials_file(self) -> Path:
        return self.path / begun.TABLE

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
    def report(self) -> Path:
        """The page that :mod:`cpivae.report` writes."""
        return self.path / "report.html"

    @property
    def report_baselines(self) -> Path:
        """A copy of the baselines that were last set beside the best model; later reports find them here."""
        return self.path / "report_baselines"

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
    def cluster(self) -> Path:
        """What belongs to the job that runs the sweep on a cluster; there before the sweep is."""
        return self.path / begun.CLUSTER

    @property
    def journal(self) -> Path:
        return self.path / begun.JOURNAL

    @property
    def trials(self) -> Path:
        return self.path / begun.TRIALS

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

    def forget_cause(self, number: int) -> None:
        """Remove what a failed attempt at a trial has left, so that the next one is not taken for it."""
        self.traceback(number).unlink(missing_ok=True)

    @contextmanager
    def mirrored(self) -> Iterator[Callable[[], None]]:
        """Keep a second copy of the folder up to date while the block runs, where there is one.

        The block gets what does that at once.
        """
        yield lambda: None

    def update_mirror(self) -> None:
        """Bring the second copy of the folder up to date, where there is one."""

    def require_ours(self) -> None:
        """Raise InterruptedSweepError once another process has gone on with the sweep that this one runs."""

    @contextmanager
    def at_hand(self, number: int) -> Iterator[AtHand]:  # noqa: ARG002
        """Have the files of a trial in a folder of the machine that trains it."""
        yield AtHand(self, linear_maps_in=self.path)

    def clear_state(self, record: TrialRecord) -> None:
        """Remove what only a trial that is to be continued needs."""
        shutil.rmtree(self.trials / f".{record.folder}", ignore_errors=True)
        for state in self.trial(record).checkpoints.glob(f"{Path(RunFiles.STATE).stem}*"):
            state.unlink()

    def clear_half_written(self, records: Sequence[TrialRecord]) -> None:
        """Remove what killed processes had begun to write for these trials."""
        names = {f".{record.folder}" for record in records}
        for left in self.trials.glob(".*.*"):
            if left.stem in names:
                shutil.rmtree(left, ignore_errors=True)

    def trial(self, record: TrialRecord) -> RunFolder:
        """Return a trial's run folder."""
        from cpivae.training.folder import RunFolder

        return RunFolder(self.trials / record.folder)

    def again(self, record: TrialRecord) -> Again:
        """Return a trial to look at again, with the tables where the sweep has read them last."""
        from cpivae.training.again import Again, prepare_again

        run = self.trial(record)
        now_at, table = read_yaml_mapping(self.settings_file).get("data"), self.config().data.samples_table
        return Again(run, lambda: prepare_again(run, now_at, table))

    def require_new(self) -> None:
        """Refuse a place that something else, or another sweep, has taken.

        Raises
        ------
        FolderError
            With what is there.
        """
        instead = "--resume continues it" if self.has_begun() else ""
        require_new_folder(self.path, instead, (self.cluster.name, *begun.left_of_a_start(self.path)))

    def has_begun(self) -> bool:
        """Say whether there is a sweep to go on with; until then nothing is lost by starting anew."""
        return begun.has_begun(self.journal)

    def create(self) -> None:
        """Make the folder, or what is missing in what a start has left that came to nothing."""
        self.trials.mkdir(parents=True, exist_ok=True)
        self.write_trials([])

    def describe(self, config: Config, described: dict[str, Any]) -> None:
        """Write ``sweep.yaml``: the resolved settings and what else decides the outcome."""
        write_text(self.settings_file, dump_yaml({"config": to_plain(config), **described}), lasting=True)

    def require_same(self, config: Config, described: dict[str, Any]) -> list[str]:
        """Refuse what trials of both could not be compared for, and return what moved: :func:`same.require_same`."""
        return require_same(self.path, self._described(), to_plain(config), described)

    def _described(self) -> dict[str, Any]:
        """Return what ``sweep.yaml`` says; settings that a sweep of an earlier version lacks have their defaults."""
        then = read_yaml_mapping(self.settings_file)
        with suppress(ConfigError):  # the differences will name it
            then["config"] = to_plain(self.config())
        return then

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
        """Write the best trial's settings, so that ``train`` repeats it to the epoch with today's table of samples."""
        config, table = self.trial(record).config(), self.config().data.samples_table
        if table is not None:
            config = with_values(config, {"data.samples_table": str(table)})
        if record.state != "complete":
            config = with_values(config, {"training.stop_epoch": record.epochs})
        write_text(self.best_config, to_yaml(config))

    def drop_weights(self, records: list[TrialRecord], keep: int, goal: Goal) -> list[TrialRecord]:
        """Remove the weights of all these trials but the ``keep`` best, and return those."""
        kept = ranked(records, goal)[:keep]
        numbers = {record.number for record in kept}
        for record in records:
            if record.number not in numbers:
                self._drop_weights_of(record)
        return kept

    def _drop_weights_of(self, record: TrialRecord) -> None:
        folder = self.trial(record)
        for weights in (folder.final_model, *folder.checkpoints.glob(f"*{Path(RunFiles.LAST).suffix}")):
            weights.unlink(missing_ok=True)


@dataclass(frozen=True)
class AtHand:
    """A sweep's folder as a trial's process uses it."""

    folder: SweepFolder
    linear_maps_in: Path | None
    """Where the linear maps are that trials share; None where each trial writes its own."""
    keep: Callable[[], None] = lambda: None
    """Called before the sweep hears of an epoch, so that nothing it knows of is lost with this process."""
