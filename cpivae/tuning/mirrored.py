"""A sweep whose folder is kept on a remote file system: trials run wherever, and need nothing shared but that.

This machine has a working copy of what the sweep itself writes: its journal, its tables, its best model.  It is sent
every few seconds.  A trial's process sends its own folder before the sweep hears of an epoch.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from cpivae.errors import FolderError, InterruptedSweepError, StorageError
from cpivae.files import link_or_copy
from cpivae.names import TEMPORARY_PREFIX, RunFiles
from cpivae.training.folder import RunFolder
from cpivae.training.linear_skip import has_linear_skip
from cpivae.tuning import claim
from cpivae.tuning.begun import is_of_a_start
from cpivae.tuning.causes import cause_of
from cpivae.tuning.claim import Claim, LostClaimError
from cpivae.tuning.folder import AtHand, SweepFolder
from cpivae.tuning.leftovers import clear_up_after_the_dead
from cpivae.tuning.record import Failure, TrialRecord, trial_name
from cpivae.tuning.remote import Copies, Remote

SECONDS = 5.0
"""Between two updates of the remote folder."""


@dataclass(frozen=True)
class MirroredFolder(SweepFolder):
    """The working copy of a sweep's folder, and where the whole of it is."""

    remote: Remote
    claim: Claim = field(compare=False)

    @classmethod
    def at(cls, remote: Remote) -> MirroredFolder:
        """Return a sweep's folder with its working copy where this user's machine keeps such things."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        name = remote.uri.partition("?")[0].rpartition("/")[2]
        path = cache / "cpivae" / f"{name}-{sha256(remote.uri.encode()).hexdigest()[:12]}"
        return cls(path, remote, Claim(remote, path))

    @property
    def name(self) -> str:
        """The URI."""
        return self.remote.uri

    @property
    def disk(self) -> None:
        """None: trials leave nothing on this machine."""
        return

    def bring(self, *, to_run: bool = True) -> None:
        """Make the working copy what the remote folder is, unless it is that and knows more.

        It knows more where its journal goes on from the remote one: the process was killed before it could send it.
        ``to_run``: False if another process of this machine may be running it.

        Raises
        ------
        StorageError
            The file system cannot be reached, or refuses.
        """
        theirs = self.remote.read(self.journal.name)
        if self.journal.is_file() and self._goes_on_from(theirs) and (theirs or not to_run):
            return
        self._clear()
        files = [name for name in self.remote.files() if _is_of_sweep(name)]
        # The journal last: a copy that has it is whole.
        self.remote.fetch(self.path, sorted(files, key=lambda name: name == self.journal.name))

    def require_new(self) -> None:
        """Refuse a remote folder that something has taken; see :meth:`SweepFolder.require_new`."""
        there = [name for name in self.remote.files() if name != claim.FILE]
        known = {n: self.remote.read(n) or b"" for n in (self.journal.name, self.trials_file.name) if n in there}
        begun = b"\n" in known.get(self.journal.name, b"")
        if begun or not is_of_a_start(there, known.get(self.trials_file.name, b"")):
            instead = "; --resume continues it" if begun else ""
            raise FolderError(
                f"the output folder {self.remote} already holds {len(there)} files. Nothing was changed: choose "
                f"another name, or move the folder away{instead}."
            )
        self._clear()

    @contextmanager
    def mirrored(self) -> Iterator[Callable[[], None]]:
        """Send what changes while the block runs, what has changed at its end, and whenever it asks for that.

        Raises
        ------
        FolderError
            Another process runs this sweep, or has gone on with it since it was brought here.
        InterruptedSweepError
            At the end something could not be sent, or another process has gone on with the sweep meanwhile.
        """
        self.claim.take()
        try:
            if not self._goes_on_from(self.remote.read(self.journal.name)):
                raise FolderError(
                    f"another process has gone on with the sweep in {self.remote} since this one read it. Nothing was "
                    "changed there: give the same command with --resume once more."
                )
            # The journal after what it speaks of: where it is, a sweep can be gone on with.
            copies = Copies(self.path, self._ours, _is_of_sweep, last=self.journal.name)
            ended = threading.Event()
            # Each by itself: a long upload must not look like the end of this process.
            threads = [
                threading.Thread(target=_again_and_again, args=(step, ended), daemon=True)
                for step in (lambda: self._update(copies), self.claim.renew)
            ]
            for thread in threads:
                thread.start()
            try:
                yield lambda: self._update(copies)
            finally:
                ended.set()
                for thread in threads:
                    thread.join()
                self._send(copies)
        finally:
            with suppress(StorageError):
                self.claim.release()

    def update_mirror(self) -> None:
        """Send what has changed since the sweep ended."""
        with self.mirrored():
            pass

    def require_ours(self) -> None:
        """See :meth:`SweepFolder.require_ours`; asked of what is known here, without the network."""
        if self.claim.lost:
            self.claim.require()

    @contextmanager
    def at_hand(self, number: int) -> Iterator[AtHand]:
        """Have the files of a trial in a temporary folder; what was sent of it is there."""
        name = trial_name(number)
        clear_up_after_the_dead(Path(tempfile.gettempdir()))
        prefix = f"{TEMPORARY_PREFIX}{os.getpid()}-"
        with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as temporary:
            folder = SweepFolder(Path(temporary))
            folder.trials.mkdir()
            local, remote = folder.trials / name, self._ours / self.trials.name / name
            there = remote.files()
            remote.fetch(local, there)
            copies = Copies(local, remote, _is_of_trial, last=RunFiles.STATE, sent=there)
            try:
                yield AtHand(folder, linear_maps_in=None, keep=copies.update)
            except Exception:
                if (error := folder.traceback(number)).is_file():
                    with suppress(StorageError, LostClaimError):
                        self._ours.send(error, f"{self.errors.name}/{error.name}")
                raise

    def cause_of_failure(self, number: int) -> tuple[Failure, str]:
        """Return class and cause; what a process could not send any more it has not told."""
        told = None
        with suppress(StorageError):
            told = self.remote.read(self._inside(self.traceback(number)))
        return cause_of((told or b"").decode())

    def forget_cause(self, number: int) -> None:
        """See :meth:`SweepFolder.forget_cause`."""
        with suppress(StorageError, LostClaimError):
            self._ours.remove([self._inside(self.traceback(number))])

    def trial(self, record: TrialRecord) -> RunFolder:
        """Return a copy of a trial's run folder, as it is now."""
        run = super().trial(record)
        shutil.rmtree(run.path, ignore_errors=True)
        (self.remote.patient() / self._inside(run.path)).fetch(run.path)
        if has_linear_skip(run.config()):  # one file for all trials, which they do not send
            for maps in (path for of in ("", "*/") for path in self.path.glob(f"{of}{RunFiles.LINEAR_SKIP}")):
                link_or_copy(maps, run.path / maps.relative_to(self.path))
        return run

    def clear_state(self, record: TrialRecord) -> None:
        """See :meth:`SweepFolder.clear_state`."""
        self._remove(record, lambda path: path.name.startswith(Path(RunFiles.STATE).stem))

    def clear_half_written(self, records: Sequence[TrialRecord]) -> None:
        """Do nothing: what is half written is in temporary folders."""

    def _drop_weights_of(self, record: TrialRecord) -> None:
        self._remove(record, lambda path: path.suffix == Path(RunFiles.LAST).suffix)

    def _remove(self, record: TrialRecord, those: Callable[[Path], bool]) -> None:
        run = self._ours / self._inside(super().trial(record).checkpoints)
        with suppress(StorageError, LostClaimError):  # what stays takes room and does no harm
            run.remove([name for name in run.files() if those(Path(name))])

    def _inside(self, path: Path) -> str:
        return path.relative_to(self.path).as_posix()

    def _clear(self) -> None:
        """Empty the working copy, but for what belongs to a job that was submitted from here."""
        for path in self.path.glob("*"):
            if path.is_dir() and path != self.cluster:
                shutil.rmtree(path)
            elif path.is_file():
                path.unlink()

    @property
    def _ours(self) -> Remote:
        """The remote folder, into which nothing is written once another process has gone on with the sweep."""
        return replace(self.remote.patient(), guard=self.claim.require)

    def _goes_on_from(self, theirs: bytes | None) -> bool:
        """Say whether the journal here is the remote one or a continuation of it; half a line there is none yet."""
        ours = self.journal.read_bytes() if self.journal.is_file() else b""
        return theirs is None or ours.startswith(theirs[: theirs.rfind(b"\n") + 1])

    def _update(self, copies: Copies) -> None:
        # Beside the claim, which this process may have renewed in the moment in which another one took it.
        if not self._goes_on_from(self.remote.patient().read(self.journal.name)):
            self.claim.lose()
        copies.update()

    def _send(self, copies: Copies) -> None:
        try:
            self.claim.require()
            self._update(copies)
        except StorageError as error:
            raise InterruptedSweepError(
                f"{error} What the sweep has written is in {self.path}; the same command with --resume, on this "
                "machine, sends it and goes on."
            ) from None


def _again_and_again(step: Callable[[], None], ended: threading.Event) -> None:
    """Take a step every few seconds; warn where it fails, once until it succeeds again; end with a lost claim."""
    warned = False
    while True:
        try:
            step()
            warned = False
        except LostClaimError:
            return  # the claim remembers it, and the sweep asks
        except Exception as error:  # whatever it is, the next attempt may succeed
            if not warned:
                print(f"warning: {error} Going on, and trying again.", file=sys.stderr, flush=True)
            warned = True
        if ended.wait(SECONDS):
            return


def _is_of_sweep(name: str) -> bool:
    """Say whether a file belongs to what the sweep itself writes."""
    return name.partition("/")[0] not in _OF_OTHERS


_OF_OTHERS = ("trials", "errors", "ray", "cluster", claim.FILE)
"""Sent by the trials' processes, disposable, or of this machine alone."""


def _is_of_trial(name: str) -> bool:
    """Say whether a file of a trial's folder is sent: the linear maps are the same for all."""
    return Path(name).name != RunFiles.LINEAR_SKIP
