"""``icans eeg``: a recording in; features, findings, scores, rows for a cohort and a page out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icans.cohort import schema, vocabulary
from icans.core.files import atomic_folder, sha256, slug
from icans.core.progress import stage
from icans.core.provenance import now, versions
from icans.report.eeg import EegPage, write_eeg
from icans.report.model import RunInfo
from icans.signals.eeg import artefacts
from icans.signals.eeg.analyse import EegResult, analyse
from icans.signals.eeg.findings import findings, prevalence, rules, window_findings
from icans.signals.eeg.periodic import discharges
from icans.signals.eeg.scene import Scene, leads
from icans.signals.eeg.scores import Score, ve_cam_s
from icans.signals.eeg.summary import summarise
from icans.signals.eeg.windows import window_at
from icans.study.eeg_rows import PREFIX, Placing, measurement_rows
from icans.study.folder import check_target, write_mark, write_tables

PAGE = "eeg.html"
#: Features told on the command line.
TOLD = ("dtabr", "median_frequency", "pdr_frequency", "suppression_share", "gpd_rate", "grda_index", "seizure_index")


@dataclass(frozen=True)
class EegReport:
    """What a recording gave, as people and programs want to know it. ``folder`` is None where nothing was written."""

    result: EegResult
    rows: pd.DataFrame
    score: Score | None
    folder: Path | None

    def as_dict(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        result = self.result
        summary = summarise(result.windows)["median"] if result.usable else pd.Series(dtype=float)
        values = {str(k): None if np.isnan(v) else round(float(v), 6) for k, v in summary.items()}
        shares = prevalence(result.windows) if result.usable else {}
        return {
            "ok": result.usable, "file": result.recording.path, "format": result.recording.format,
            "seconds": result.recording.seconds, "channels": list(result.survey.names),
            "left_out": result.survey.left_out, "flags": [flag.as_dict() for flag in result.flags],
            "features": values, "findings": {k: None if np.isnan(v) else v for k, v in shares.items()},
            "ve_cam_s": None if self.score is None else {
                "value": self.score.value, "high": self.score.high, "parts": self.score.parts,
                "unknown": list(self.score.unknown)},
            "folder": None if self.folder is None else str(self.folder),
        }  # fmt: skip

    def text(self) -> str:
        """The result for people."""
        result = self.result
        lines = [f"{result.recording.path}: {result.recording.format}, {result.recording.seconds:.0f} s, "
                 f"{len(result.survey.names)} EEG channels"]  # fmt: skip
        lines += [f"  {flag.severity}: {flag.text}{f' ({flag.where})' if flag.where else ''}" for flag in result.flags]
        if self.score is not None:
            summary = summarise(result.windows)["median"]
            known = vocabulary.analytes()
            for name in TOLD:
                entry = known[PREFIX + name]
                value = (
                    "none"
                    if np.isnan(summary[name])
                    else f"{summary[name]:.3g} {entry.unit if entry.unit != '1' else ''}"
                )
                lines.append(f"  {entry.label:<44} {value}")
            parts = ", ".join(f"{name.replace('_', ' ')} {points:g}" for name, points in self.score.parts.items())
            lines.append(f"  VE-CAM-S, automatic: {self.score.value:g} (up to {self.score.high:g} with what was not "
                         f"looked for) = {parts or 'no finding'}")  # fmt: skip
        lines.append("  Research use only: a person must read the EEG.")
        if self.folder is not None:
            lines.append(f"page: {self.folder / PAGE}")
        return "\n".join(lines)


def eeg_file(
    path: Path, *, output: Path | None = None, overwrite: bool = False, place: Placing | None = None,
    every_h: float | None = None, connectivity: bool = True, synthetic: bool = False, command: str = "",
) -> EegReport:  # fmt: skip
    """Read a recording and, with ``output``, write its results folder.

    Parameters
    ----------
    place
        Whose it is and when it began; by default a patient called after the file, at hour 0.
    every_h
        Rows for every stretch of so many hours instead of one set.
    synthetic
        The recording is synthetic: page and tables say so.

    Raises
    ------
    DataError
        The file cannot be read or is no EEG.
    FileExistsError
        The folder exists and may not be replaced; told before anything is read.
    """
    if output is not None:
        check_target(output, overwrite)
    started = now()
    with stage(f"reading {path.name}"):
        result = analyse(path, connectivity=connectivity)
    score = ve_cam_s(findings(result.windows)) if result.usable else None
    rows = measurement_rows(result, place or Placing(slug(path.stem, "patient"), 0.0), every_h=every_h)
    if output is None:
        return EegReport(result, rows, score, None)
    inputs = {path.name: sha256(path)}
    info = RunInfo(command=command, started=started, finished=now(), versions=versions(), inputs=inputs)
    with stage("writing the results"), atomic_folder(output, overwrite=overwrite) as temporary:
        write_tables(temporary, _tables(result, rows), synthetic)
        schema.MEASUREMENTS.shape_up(rows).to_csv(temporary / "measurements.csv", index=False)
        write_eeg(_page(result, score, path.stem, info, synthetic), temporary / PAGE)
        report = EegReport(result, rows, score, output)
        write_mark(temporary, report.as_dict(), info, synthetic)
    return report


def _tables(result: EegResult, rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    found = {"measurements": rows}
    if result.usable:
        found |= {
            "windows": result.windows, "findings": window_findings(result.windows), "topography": result.topography,
            "features": summarise(result.windows), "spectrogram": result.spectrogram.rename(columns=str),
        }  # fmt: skip
    if len(result.left_out):
        found["left_out"] = result.left_out
    return found


def _page(result: EegResult, score: Score | None, name: str, info: RunInfo, synthetic: bool) -> EegPage:
    if not result.usable:
        empty = pd.DataFrame()
        return EegPage(name, result, empty, empty, empty, None, None, info, is_synthetic=synthetic)
    return EegPage(
        name, result, _features(result), _findings(result), window_findings(result.windows), score, _shown(result),
        info, is_synthetic=synthetic,
    )  # fmt: skip


def _features(result: EegResult) -> pd.DataFrame:
    summary, known = summarise(result.windows), vocabulary.analytes()
    named = [name for name in summary.index if PREFIX + str(name) in known]
    table = summary.loc[named, ["median", "iqr", "low", "high"]]
    table.insert(0, "feature", [known[PREFIX + str(name)].label.removeprefix("EEG ") for name in named])
    table.insert(1, "unit", [known[PREFIX + str(name)].unit for name in named])
    return table.reset_index(drop=True)


def _findings(result: EegResult) -> pd.DataFrame:
    shares, there = prevalence(result.windows), findings(result.windows)
    words = {True: "yes", False: "no", None: "unknown"}
    return pd.DataFrame(
        [(name.replace("_", " "), words[there[name]], shares[name], rules()[name]["why"]) for name in shares],
        columns=["finding", "there", "prevalence", "rule"],
    )  # fmt: skip


def _shown(result: EegResult) -> tuple[Scene, np.ndarray] | None:
    """The window with the highest score of its own (the first of equals), read again."""
    with_each = window_findings(result.windows)
    scores = [
        ve_cam_s({k: None if np.isnan(v) else bool(v) for k, v in row.items()}).value
        for row in with_each.to_dict("records")
    ]
    number = int(np.argmax(scores))
    window = window_at(result.recording, result.survey.names, result.survey.scale, number)
    good, _ = artefacts.good_seconds(window, result.survey.names)
    scene = Scene(leads(result.survey.names), window, good)
    return scene, discharges(scene)
