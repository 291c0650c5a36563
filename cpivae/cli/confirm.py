"""``cpivae confirm``: the best trials of a sweep looked at again, where the search has not been."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cpivae.cli.told import Quiet, sayer, test_scores
from cpivae.cli.tune_options import NoReport
from cpivae.errors import FolderError, listed
from cpivae.names import MAX_FOLDS, plural

if TYPE_CHECKING:
    from cpivae.config.schema import Config
    from cpivae.data.prepare import Folds
    from cpivae.tuning.confirm import Confirmation


def confirm(
    sweep: Annotated[Path, typer.Option("--sweep", help="Sweep folder whose best trials are looked at again.")],
    top: Annotated[int, typer.Option("--top", min=1, help="How many of the best trials.")] = 5,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Seeds that each is trained from.")] = 3,
    folds: Annotated[int, typer.Option("--folds", min=2, max=MAX_FOLDS, help="Folds that each is trained on.")] = 5,
    platform_a: Annotated[
        Path | None, typer.Option("--platform_a", help="Table of platform A, if it has moved since the sweep.")
    ] = None,
    platform_b: Annotated[
        Path | None, typer.Option("--platform_b", help="Table of platform B, if it has moved.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted confirmation.")] = False,
    no_report: NoReport = False,
    quiet: Quiet = False,
) -> None:
    """Train the best trials again on fresh seeds and folds, say what they are really worth, and export the winner."""
    from cpivae.config.yaml import read_yaml_mapping
    from cpivae.data.prepare import prepare_folds
    from cpivae.data.tables import read_pair
    from cpivae.export import replace_bundle
    from cpivae.report.write import try_report
    from cpivae.training.again import Again
    from cpivae.tuning.confirm import confirm as look_again
    from cpivae.tuning.folder import SweepFolder
    from cpivae.tuning.interrupts import interruptible
    from cpivae.tuning.record import TrialRecord

    folder = SweepFolder.open(sweep.resolve())
    with interruptible(SweepFolder(folder.confirming)):
        sources = read_yaml_mapping(folder.settings_file)["data"]
        paths = {"a": _table("a", platform_a, sources), "b": _table("b", platform_b, sources)}
        pair = read_pair(paths, folder.config().data)

        def prepared(config: Config) -> Folds:
            return prepare_folds(pair, config.data)

        found = look_again(
            folder, prepared, top=top, seeds=seeds, folds=folds, resume=resume, say=sayer(quiet), quiet=quiet
        )
        winner = folder.trial(TrialRecord(found.winner))
        again = Again(winner, lambda: prepared(winner.config()))  # the tables may have moved since, and are at hand
        notes = replace_bundle(again, folder.best_bundle, folder.confirmation())
        reported = [] if no_report else [try_report(folder, again)]
    files = [f"  settings  {folder.best_config}", f"  bundle    {folder.best_bundle}", *reported]
    print("\n".join([*told(found), *files, *notes]))


def told(found: Confirmation) -> list[str]:
    """Say in a table what was found."""
    lines = [
        f"{found.metric} over {plural(found.folds, 'fold')} x {plural(found.seeds, 'seed')} that the search never used "
        "(95 % intervals):",
        f"{'trial':>7}  {'search':>7}  {'confirmed':<26}  {'behind the best by':<28}  parameters",
    ]
    for i, c in enumerate(found.candidates):
        honest = f"{c.score.mean:.4f} ({c.score.low:.4f} to {c.score.high:.4f})"
        behind = (
            "" if i == 0 else f"{c.against_best.mean:+.4f} ({c.against_best.low:+.4f} to {c.against_best.high:+.4f})"
        )
        chosen = "  <- chosen" if c.trial == found.winner else ""
        lines.append(f"{c.trial:>7}  {c.search_score:>7.4f}  {honest:<26}  {behind:<28}  {c.parameters:,}{chosen}")
    if found.failed:
        lines.append(f"without a score on every fold and seed, and left out: {', '.join(map(str, found.failed))}")
    tied = sum(c.ties for c in found.candidates)
    if tied > 1:
        lines.append(f"{tied} of {len(found.candidates)} cannot be told apart; the smallest of them is chosen")
    if found.passed_over:
        lines.append(
            f"as good in the search, but left out because ASHA stopped them early: {listed(found.passed_over)}"
        )
    bias = found.selection_bias
    much = f"was {bias:.4f} better than" if bias > 0 else "was not better than"
    lines.append(f"selection bias: the search's score of trial {found.favourite} {much} what it proved to be worth")
    looks = "looked at once" if found.test_looks == 1 else f"looked at for {found.test_looks} trials so far"
    metrics = found.test_metrics
    lines.append(f"test samples, {looks}: {test_scores(metrics)}" if metrics else "there are no test samples")
    return lines


def _table(platform: str, given: Path | None, sources: dict[str, Any]) -> Path:
    recorded = sources[f"platform_{platform}"]["path"]
    if given is not None:
        return given
    if recorded is None or not Path(recorded).is_file():
        raise FolderError(
            f"the table of platform {platform} is no longer where the sweep read it ({recorded}). "
            f"Say where it is with --platform_{platform}."
        )
    return Path(recorded)
