"""``icans mri``: images in; table of regions, rows for a cohort and a page out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from icans.cohort import schema
from icans.core.files import atomic_folder, sha256, slug
from icans.core.progress import stage
from icans.core.provenance import now, versions
from icans.report.model import RunInfo
from icans.report.mri import MriPage, write_mri
from icans.signals.mri.atlas import regions
from icans.signals.mri.examination import Examination
from icans.signals.mri.measure import Measured, measure
from icans.signals.mri.reading import read_volume
from icans.study.eeg_rows import Placing
from icans.study.folder import check_target, write_mark, write_tables
from icans.study.mri_rows import mri_rows

PAGE = "mri.html"


@dataclass(frozen=True)
class Files:
    """The files of one examination; every one is a NIfTI file, a folder of a DICOM series or one file of it."""

    t1: Path | None = None
    flair: Path | None = None
    adc: Path | None = None
    t1_post: Path | None = None
    cbf: Path | None = None
    lesions: Path | None = None
    brain: Path | None = None
    tumour: Path | None = None

    def given(self) -> dict[str, Path]:
        """Those that were given, by what they are."""
        names = ("t1", "flair", "adc", "t1_post", "cbf", "lesions", "brain", "tumour")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True)
class MriReport:
    """What an examination gave, for people and programs. ``folder`` is None where nothing was written."""

    measured: Measured
    rows: pd.DataFrame
    folder: Path | None

    def as_dict(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        folder = None if self.folder is None else str(self.folder)
        return {"ok": True, **self.measured.result.as_dict(), "folder": folder}

    def text(self) -> str:
        """The result for people."""
        result = self.measured.result
        lines = [f"{', '.join(result.about['images'].values())}: lesions by {result.about['lesions']}"]
        lines += [f"  {flag.severity}: {flag.text}{f' ({flag.where})' if flag.where else ''}" for flag in result.flags]
        labels = {**{r.name: r.label for r in regions()}, "brain": "Whole brain"}
        for row in result.table.to_dict("records"):
            line = f"  {labels[str(row['region'])]:<32} {row['volume_ml']:8.1f} mL"
            if "flair_ml" in row:
                line += f"   bright {row['flair_ml']:7.2f} mL ({row['flair_ml_low']:.2f} to {row['flair_ml_high']:.2f})"
            lines.append(line)
        lines += [f"  {name.replace('_', ' '):<32} {value:8.3f}" for name, value in result.whole.items()
                  if not name.endswith(("_low", "_high"))]  # fmt: skip
        lines.append("  Research use only: accuracy on patients' lesions was not measured; a radiologist must read it.")
        if self.folder is not None:
            lines.append(f"page: {self.folder / PAGE}")
        return "\n".join(lines)


def read_examination(files: Files) -> Examination:
    """Read the images of one examination.

    Raises
    ------
    DataError
        A file cannot be read or is no volume of a head.
    """
    images: dict[str, Any] = {name: read_volume(path) for name, path in files.given().items()}
    return Examination(**images)


def mri_files(
    files: Files, *, before: Files | None = None, output: Path | None = None, overwrite: bool = False,
    place: Placing | None = None, one_space: bool = False, synthetic: bool = False, seed: int = 1, command: str = "",
) -> MriReport:  # fmt: skip
    """Measure an examination and, with ``output``, write its results folder.

    Parameters
    ----------
    before
        The baseline, for the change of fluid.
    place
        Whose it is, when it was made and read; by default a patient called after the first file, at hour 0.
    one_space
        Images are aligned with each other already.
    synthetic
        The images are synthetic: page and tables say so.

    Raises
    ------
    DataError
        A file cannot be read, or the images are no brain.
    FileExistsError
        The folder exists and may not be replaced; told before anything is read.
    """
    if output is not None:
        check_target(output, overwrite)
    started, given = now(), files.given()
    with stage("reading the images"):
        exam = replace(read_examination(files), one_space=one_space)
        earlier = None if before is None else read_examination(before)
    with stage("registering and measuring"):
        measured = measure(exam, before=earlier, seed=seed)
    name = next(iter(given.values())).name.split(".")[0]
    rows = mri_rows(measured.result, place or Placing(slug(name, "patient"), 0.0))
    report = MriReport(measured, rows, output)
    if output is None:
        return report
    hashed = {path.name: sha256(path) for path in given.values() if path.is_file()}
    info = RunInfo(command=command, started=started, finished=now(), versions=versions(), inputs=hashed)
    with stage("writing the results"), atomic_folder(output, overwrite=overwrite) as temporary:
        write_tables(temporary, {"regions": measured.result.table, "measurements": rows}, synthetic)
        schema.MEASUREMENTS.shape_up(rows).to_csv(temporary / "measurements.csv", index=False)
        write_mri(MriPage(name, measured, info, is_synthetic=synthetic), temporary / PAGE)
        write_mark(temporary, report.as_dict(), info, synthetic)
    return report
