"""``icans loop``."""

from __future__ import annotations

from typing import Annotated

import typer

from icans.cli.options import Json, Output, Overwrite, Quiet
from icans.cli.shell import answer, guarded


def loop(
    policy: Annotated[
        list[str] | None,
        typer.Option(help="never, guideline, anakinra, steroid, threshold[:RISK], one-step, mpc-certain, mpc, oracle. "
                     "Repeatable."),
    ] = None,
    product: Annotated[str, typer.Option(help="The CAR T product.")] = "axi-cel",
    disease: Annotated[str, typer.Option(help="The disease.")] = "LBCL",
    patients: Annotated[int, typer.Option("--patients", "-n", min=2, help="Virtual patients.")] = 200,
    step_h: Annotated[float, typer.Option(help="Hours between decisions.")] = 6.0,
    days: Annotated[float, typer.Option(help="Days of an episode.")] = 28.0,
    weight: Annotated[
        list[str] | None, typer.Option(help="Weight of an outcome in the loss, NAME=NUMBER. Repeatable.")
    ] = None,
    mismatch: Annotated[float, typer.Option(help="SD (ln) by which the world differs from the model.")] = 0.0,
    dropped: Annotated[float, typer.Option(help="Share of samples that are lost.")] = 0.0,
    wrong_patient: Annotated[float, typer.Option(help="Share of results that are another patient's.")] = 0.0,
    late_h: Annotated[float, typer.Option(help="Hours added to every turnaround.")] = 0.0,
    start_h: Annotated[float, typer.Option(help="Hours before which nothing is given.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    threads: Annotated[int, typer.Option("--workers", "-w", min=1, help="Threads of the solver.")] = 1,
    output: Output = None,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Policies of dosing in the closed loop, on the same virtual patients. All results are synthetic."""
    with guarded(json, quiet):
        from icans.intervene.loop.ward import Settings
        from icans.intervene.world import read_assays
        from icans.study.loop import USUAL, bench_loop
        from icans.study.simulate_flags import command_line

        lab = read_assays(dropped=dropped, wrong_patient=wrong_patient, late_h=late_h)
        settings = Settings(product=product, disease=disease, step_h=step_h, horizon_d=days, assays=lab,
                            weights=_weights(weight or []), mismatch=mismatch, start_h=start_h, seed=seed,
                            threads=threads)  # fmt: skip
        report = bench_loop(settings, policy or USUAL, patients=patients, output=output, overwrite=overwrite,
                            command=command_line())  # fmt: skip
        answer(report.as_dict(), report.text(), json)


def _weights(given: list[str]) -> dict[str, float]:
    """NAME=NUMBER as weights; what is wrong is told by name."""
    from icans.core.errors import ConfigError, Problem

    made, problems = {}, []
    for text in given:
        name, _, number = text.partition("=")
        try:
            made[name.strip()] = float(number)
        except ValueError:
            problems.append(Problem("--weight", None, None, text, "NAME=NUMBER", "For example icu_days=2."))
    if problems:
        raise ConfigError(problems)
    return made
