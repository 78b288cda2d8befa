"""``icans eeg``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icans.cli.options import Json, Output, Overwrite, Quiet
from icans.cli.shell import answer, guarded


def eeg(
    file: Annotated[Path, typer.Argument(help="An EEG: EDF, EDF+, BDF, BrainVision (.vhdr), EEGLAB (.set), FIF.")],
    patient: Annotated[str | None, typer.Option(help="Patient in the rows for a cohort (default: the file).")] = None,
    start_h: Annotated[float, typer.Option(help="Hours from infusion to the first sample.")] = 0.0,
    delay_h: Annotated[float, typer.Option(min=0, help="Hours from the end of the recording to the result.")] = 0.0,
    every_h: Annotated[float | None, typer.Option(min=0.01, help="Rows for every so many hours.")] = None,
    connectivity: Annotated[bool, typer.Option(help="Phase coupling of every pair of channels.")] = True,
    synthetic: Annotated[bool, typer.Option("--synthetic", help="Label the results as synthetic.")] = False,
    output: Output = None,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Features, findings and score of an EEG, with a record of what was left out; rows for a cohort."""
    with guarded(json, quiet):
        from icans.core.files import slug
        from icans.study.eeg import eeg_file
        from icans.study.eeg_rows import Placing
        from icans.study.simulate_flags import command_line

        place = Placing(patient or slug(file.stem, "patient"), start_h, delay_h)
        report = eeg_file(
            file, output=output, overwrite=overwrite, place=place, every_h=every_h, connectivity=connectivity,
            synthetic=synthetic, command=command_line(),
        )  # fmt: skip
        answer(report.as_dict(), report.text(), json)
        if not report.result.usable:
            raise typer.Exit(2)
