"""Features of an EEG as rows of ``measurements``: matrix ``eeg``, known when the recording was over and read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from icans.cohort import schema, vocabulary
from icans.cohort.cohort import Cohort, stack
from icans.signals.eeg.analyse import EegResult, analyse
from icans.signals.eeg.delta_waves import prevalence_class
from icans.signals.eeg.findings import findings
from icans.signals.eeg.scores import ve_cam_s
from icans.signals.eeg.summary import summarise

#: What stands before a feature's name to make the name of its analyte.
PREFIX = "eeg_"
ASSAY = "icans eeg"
#: Features whose spread over time is a row of its own: variability told delirium apart (E-CAM-S, van Sleuwen et al.
#: 2022, doi:10.1097/CCM.0000000000005224; the figure read, the reference recalled).
VARIABLE = ("dtabr", "median_frequency", "rel_delta", "rel_alpha")


COLUMNS = ["analyte", "value", "unit", "method"]


@dataclass(frozen=True, slots=True)
class Placing:
    """Whose recording it is, and when.

    ``start_h``: hours since infusion at its first sample. ``delay_h``: hours from its end to the result.
    """

    patient_id: str
    start_h: float
    delay_h: float = 0.0


def measurement_rows(result: EegResult, place: Placing, *, every_h: float | None = None) -> pd.DataFrame:
    """Rows of ``measurements`` from a recording.

    Parameters
    ----------
    every_h
        Rows for every stretch of so many hours, each known after its own end; None: one set for the recording.

    Returns
    -------
    DataFrame
        Shaped as the table. ``time_h`` is the start of the stretch, ``available_h`` its end plus the delay; features
        without a value have no row; ``method`` says the statistic, and ``flagged`` with the codes of every doubt.
    """
    if not result.usable:
        return schema.MEASUREMENTS.empty()
    doubts = sorted({flag.code for flag in result.flags if flag.severity == "doubt"})
    suffix = f"; flagged: {', '.join(doubts)}" if doubts else ""
    frames = []
    for windows in _stretches(result.windows, every_h):
        summary = summarise(windows)
        start, stop = windows["start_s"].min() / 3600, windows["stop_s"].max() / 3600
        frame = pd.concat([_rows(summary, suffix), _scores(windows, suffix)], ignore_index=True)
        frame["time_h"] = place.start_h + start
        frame["available_h"] = place.start_h + stop + place.delay_h
        frames.append(frame)
    table = pd.concat(frames, ignore_index=True).assign(
        patient_id=place.patient_id, matrix="eeg", censor="none", assay=ASSAY
    )
    return schema.MEASUREMENTS.shape_up(table)


def cohort_with_eeg(cohort: Cohort, root: Path | None = None, *, connectivity: bool = True) -> Cohort:
    """The cohort with the features of its EEG recordings (table ``recordings``) among its measurements.

    Parameters
    ----------
    root
        Where relative paths begin; by default here.

    Returns
    -------
    Cohort
        ``changes`` has a row a recording: how many rows it gave and what put them in doubt, or why it gave none. A row
        is known when the recording was over, or when the cohort says that the recording was known, whichever is later.

    Raises
    ------
    DataError, FileNotFoundError
        A recording cannot be read.
    """
    frames, notes = [cohort.measurements], []
    for recording in cohort.recordings[cohort.recordings["kind"] == "eeg"].itertuples():
        result = analyse((root or Path()) / str(recording.path), connectivity=connectivity)
        rows = measurement_rows(result, Placing(str(recording.patient_id), float(recording.time_h)))
        known = float(recording.available_h)
        if np.isfinite(known):
            rows["available_h"] = rows["available_h"].clip(lower=known)
        frames.append(rows)
        told = "; ".join(flag.text for flag in result.flags if flag.severity != "note")
        notes.append({
            "table": "measurements", "patient_id": recording.patient_id, "time_h": recording.time_h, "item": "eeg",
            "rule": "eeg.features" if len(rows) else "eeg.unusable", "rows": len(rows),
            "why": told or "features of the recording",
        })  # fmt: skip
    measured = stack(schema.MEASUREMENTS, frames)
    return cohort.with_table("measurements", measured, pd.DataFrame(notes) if notes else None)


def _stretches(windows: pd.DataFrame, every_h: float | None) -> list[pd.DataFrame]:
    if every_h is None:
        return [windows]
    number = (windows["start_s"] // (3600 * every_h)).astype(int)
    return [group for _, group in windows.groupby(number)]


def _rows(summary: pd.DataFrame, suffix: str) -> pd.DataFrame:
    known = vocabulary.analytes()
    rows = []
    for feature, line in summary.iterrows():
        name = PREFIX + str(feature)
        if name in known and np.isfinite(line["median"]):
            method = f"median of {int(line['windows'])} windows{suffix}"
            rows.append({"analyte": name, "value": float(line["median"]), "unit": known[name].unit, "method": method})
        spread = f"{name}_iqr"
        if feature in VARIABLE and spread in known and np.isfinite(line["iqr"]):
            method = f"interquartile range of {int(line['windows'])} windows{suffix}"
            rows.append({"analyte": spread, "value": float(line["iqr"]), "unit": known[spread].unit, "method": method})
    return pd.DataFrame(rows, columns=COLUMNS)


def _scores(windows: pd.DataFrame, suffix: str) -> pd.DataFrame:
    """The automatic VE-CAM-S, and the class of prevalence of irregular delta."""
    known = vocabulary.analytes()
    method = f"automatic; unknown findings count as absent{suffix}"
    rows = [("ve_cam_s", ve_cam_s(findings(windows)).value, known["ve_cam_s"].unit, method)]
    share = windows["pda_prevalence"].mean() if "pda_prevalence" in windows else np.nan
    if np.isfinite(share):
        name = PREFIX + "pda_class"
        rows.append((name, float(prevalence_class(share)), known[name].unit, f"mean prevalence{suffix}"))
    return pd.DataFrame(rows, columns=COLUMNS)
