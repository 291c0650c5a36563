"""``cpivae tune``: a sweep over settings, its best trial exported."""

from __future__ import annotations

from typing import Annotated

import typer

from cpivae.cli.options import taking
from cpivae.cli.told import Quiet, sayer
from cpivae.cli.tune_options import NoReport, SearchSpace, TuneOptions


@taking(TuneOptions)
def tune(
    options: TuneOptions,
    search_space: SearchSpace,
    no_check: Annotated[bool, typer.Option("--no_check", help="Start without trying any configuration first.")] = False,
    no_report: NoReport = False,
    quiet: Quiet = False,
) -> None:
    """Search for the best settings: Optuna proposes, ASHA stops the hopeless, the best trial is exported."""
    from cpivae.cli.examine import examine
    from cpivae.export import replace_bundle
    from cpivae.report.write import try_report
    from cpivae.tuning.interrupts import interruptible
    from cpivae.tuning.summary import lines_of
    from cpivae.tuning.sweep import run_sweep

    with interruptible(options.folder):
        with options.place() as place:
            examined = examine(
                options, search_space, options.folder, attempt_steps=not no_check, place=place, say=sayer(quiet)
            )
            config, space = examined.sweep()
            result = run_sweep(
                config,
                space,
                examined.take_folds,
                options.folder,
                study_name=options.study_name,
                resume=options.resume,
                from_sweep=options.from_sweep,
                place=place,
                say=sayer(quiet),
                quiet=quiet,
            )
        folder, best = result.folder, result.best
        again = folder.again(best)
        notes = replace_bundle(again, folder.best_bundle, folder.confirmation())
        reported = "" if no_report else try_report(folder, again)
        folder.update_mirror()
    if result.reason:
        print(f"ended early: {result.reason}")
    print(f"best of {len(result.records)} trials: {best.number}, {config.tuning.metric} {best.score:.4f}")
    for line in lines_of(result.summary):
        print(f"  {line}")
    print(f"  trials    {folder.trials_file}")
    print(f"  settings  {folder.best_config}   (cpivae train --config repeats it)")
    print(f"  bundle    {folder.best_bundle}   (cpivae impute --experiment_dir uses it)")
    if reported:
        print(reported)
    if folder.disk is None:
        print(f"  all of it {folder.name}")
    for note in notes:
        print(note)
