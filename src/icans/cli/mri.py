"""``icans mri``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icans.cli.options import Json, Output, Overwrite, Quiet
from icans.cli.shell import answer, guarded


def mri(
    file: Annotated[
        Path | None, typer.Argument(help="The FLAIR image: NIfTI, a folder of one DICOM series, or a file of it.")
    ] = None,
    t1: Annotated[Path | None, typer.Option(help="T1 before contrast; it is registered where it is there.")] = None,
    adc: Annotated[Path | None, typer.Option(help="Map of the apparent diffusion coefficient.")] = None,
    t1_post: Annotated[Path | None, typer.Option(help="T1 after contrast.")] = None,
    cbf: Annotated[Path | None, typer.Option(help="Map of blood flow, mL/100 g/min.")] = None,
    lesions: Annotated[Path | None, typer.Option(help="Lesions drawn elsewhere, in the space of the FLAIR.")] = None,
    brain: Annotated[Path | None, typer.Option(help="Brain mask made elsewhere.")] = None,
    tumour: Annotated[Path | None, typer.Option(help="Mask of a tumour known before: focality is told.")] = None,
    before: Annotated[Path | None, typer.Option(help="FLAIR of the baseline: change of fluid is told.")] = None,
    before_t1: Annotated[Path | None, typer.Option(help="T1 of the baseline.")] = None,
    one_space: Annotated[bool, typer.Option("--one-space", help="The images are aligned already.")] = False,
    strip: Annotated[
        Path | None, typer.Option(help="Only write copies of a DICOM folder without personal data to this folder.")
    ] = None,
    patient: Annotated[str | None, typer.Option(help="Patient in the rows for a cohort (default: the file).")] = None,
    start_h: Annotated[float, typer.Option(help="Hours from infusion to the images.")] = 0.0,
    delay_h: Annotated[float, typer.Option(min=0, help="Hours from the images to their reading.")] = 0.0,
    synthetic: Annotated[bool, typer.Option("--synthetic", help="Label the results as synthetic.")] = False,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    output: Output = None,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Brain regions of an MRI: bright tissue, diffusion, contrast, fluid, focality; rows for a cohort."""
    with guarded(json, quiet):
        if strip is not None:
            _strip(file, strip, overwrite, json)
            return
        from icans.core.files import slug
        from icans.study.eeg_rows import Placing
        from icans.study.mri import Files, mri_files
        from icans.study.simulate_flags import command_line

        files = Files(t1, file, adc, t1_post, cbf, lesions, brain, tumour)
        first = file or t1
        named = slug(first.name.split(".")[0], "patient") if first is not None else "patient"
        report = mri_files(
            files, before=Files(before_t1, before) if before or before_t1 else None, output=output,
            overwrite=overwrite, place=Placing(patient or named, start_h, delay_h), one_space=one_space,
            synthetic=synthetic, seed=seed, command=command_line(),
        )  # fmt: skip
        answer(report.as_dict(), report.text(), json)


def _strip(folder: Path | None, target: Path, overwrite: bool, json: bool) -> None:
    from icans.signals.mri.dicom import strip_series

    if folder is None:
        raise FileNotFoundError("name the folder of DICOM files to strip")
    number = strip_series(folder, target, overwrite=overwrite)
    text = f"{number} files written to {target} without personal data in their headers; a face can still be rebuilt"
    answer({"ok": True, "files": number, "folder": str(target)}, text, json)
