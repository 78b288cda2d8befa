"""``icans whatif``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icans.cli.options import Json, Output, Overwrite, Quiet
from icans.cli.shell import answer, guarded


def whatif(
    cohort: Annotated[
        str, typer.Argument(help="A study file (TOML), a cohort folder, the name of a data set, or demo.")
    ],
    patient: Annotated[str, typer.Option(help="The patient.")],
    at: Annotated[float, typer.Option("--at", help="Day up to which results count: what was available by then.")],
    therapy: Annotated[str, typer.Option(help="A strategy; `icans strategies --list` tells their names.")],
    care: Annotated[str, typer.Option(help="The care of both arms, a strategy.")] = "present",
    file: Annotated[Path | None, typer.Option(help="A file of strategies of your own (TOML).")] = None,
    start: Annotated[
        float | None, typer.Option(help="Day on which the therapy begins (default: that of --at).")
    ] = None,
    draws: Annotated[int, typer.Option(min=20, help="Draws of the patient.")] = 200,
    window: Annotated[bool, typer.Option(help="Also try later starts, to tell when it is too late.")] = True,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    output: Output = None,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """One patient with and without a therapy, from what was known by a day. What is told is simulated (synthetic)."""
    with guarded(json, quiet):
        from icans.study.simulate_flags import command_line
        from icans.study.whatif import ask_what_if

        result = ask_what_if(
            cohort, patient, at, therapy, care=care, file=file, start_d=start, draws=draws, window=window, seed=seed,
            output=output, overwrite=overwrite, command=command_line(),
        )  # fmt: skip
        answer(result.as_dict(), result.text(), json)
