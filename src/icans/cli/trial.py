"""``icans trial``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icans.cli.options import Json, Output, Overwrite, Quiet, Where, Workers
from icans.cli.shell import answer, guarded


def trial(
    design: Annotated[Path, typer.Argument(help="A design file (TOML).")],
    output: Output = None,
    overwrite: Overwrite = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not take up virtual patients simulated before.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only check the file and tell the design in words.")] = False,
    simulations: Annotated[
        int | None, typer.Option(min=100, help="Trials of each scenario, in place of those of the file.")
    ] = None,
    workers: Workers = None,
    executor: Where = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """A trial before it is run: power, error, size and a page for the protocol, on virtual patients. Synthetic."""
    with guarded(json, quiet):
        if check:
            from icans.intervene.trial import words
            from icans.intervene.trial.design import read_design

            found = read_design(design)
            rows = words.synopsis(found)
            lines = [f"{item}: {text}" for item, text in zip(rows["item"], rows["text"])] + words.analysis(found)
            answer({"ok": True, "design": found.as_dict(), "words": lines}, "\n".join(lines), json)
            return
        from icans.study.simulate_flags import command_line
        from icans.study.trial import run_trial

        result = run_trial(design, output=output, overwrite=overwrite, fresh=fresh, workers=workers, executor=executor,
                           simulations=simulations, command=command_line())  # fmt: skip
        answer(result.as_dict(), result.text(), json)
