"""``icans emulate``."""

from __future__ import annotations

from typing import Annotated

import typer

from icans.cli.options import Json, Output, Overwrite, Quiet
from icans.cli.shell import answer, guarded


def emulate(
    cohort: Annotated[str, typer.Argument(help="A study file (TOML), a cohort folder, or the name of a data set.")],
    outcome: Annotated[int, typer.Option(min=2, max=5, help="Grade that counts as the event.")] = 3,
    grace: Annotated[int, typer.Option(min=0, help="Days within which the early arm must have begun.")] = 1,
    days: Annotated[int, typer.Option(min=1, help="Days of follow-up from the first day with grade 1.")] = 10,
    after_last: Annotated[
        str, typer.Option(help="After the last grade: resolved (no event) or censored (lost, with weights).")
    ] = "resolved",
    drug: Annotated[str, typer.Option(help="Group of drugs that is started.")] = "corticosteroid",
    virtual: Annotated[int, typer.Option(min=0, help="Virtual patients for the same question; 0: none.")] = 0,
    product: Annotated[str, typer.Option(help="Product of the virtual patients.")] = "axi-cel",
    disease: Annotated[str, typer.Option(help="Disease of the virtual patients.")] = "LBCL",
    resamples: Annotated[int, typer.Option(min=20, max=20_000, help="Bootstrap samples.")] = 500,
    seed: Annotated[int, typer.Option(min=0)] = 20240201,
    output: Output = None,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Steroids at grade 1, or wait for grade 2: an observed cohort read as the trial nobody ran, with its limits."""
    with guarded(json, quiet):
        from icans.intervene.emulate.courses import Protocol
        from icans.study.emulate import emulate_cohort
        from icans.study.simulate_flags import command_line

        protocol = Protocol(outcome=outcome, grace=grace, days=days, after_last=after_last, drug=drug)
        result = emulate_cohort(cohort, protocol, output=output, overwrite=overwrite, seed=seed, resamples=resamples,
                                virtual=virtual, product=product, disease=disease, command=command_line())  # fmt: skip
        answer(result.as_dict(), result.text(), json)
