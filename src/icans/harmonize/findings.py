"""What harmonisation found: one row a finding, with a proposal, a confidence and the evidence in words."""

from __future__ import annotations

import numpy as np
import pandas as pd

from icans.cohort import vocabulary
from icans.cohort.schema import Column, Table
from icans.harmonize.hmm_rows import bounds
from icans.harmonize.regimes import Judged

FINDINGS = Table(
    "findings",
    "one thing that harmonisation found",
    (
        Column("analyte", "text", "analyte; missing: the whole patient"),
        Column("scope", "text", "batch, patient or row", allowed=("analyte", "batch", "patient", "row")),
        Column("patient_id", "text", "patient; missing: several"),
        Column("batch", "text", "batch; missing: several"),
        Column("time_h", "number", "time of the first row"),
        Column("kind", "text", "what was found, e.g. unit.detected", required=True),
        Column("proposal", "text", "what to do about it"),
        Column("factor", "number", "canonical = factor * stored + offset"),
        Column("offset", "number", "see factor"),
        Column("n_rows", "integer", "rows that the finding speaks of"),
        Column("confidence", "number", "probability that the finding is right", low=0, high=1),
        Column("evidence", "text", "why, in words"),
        Column("applied", "yesno", "whether the proposal was carried out"),
    ),
    (),
)
#: Share of a batch's rows that must have one reading before the finding speaks of the batch.
BATCH_SHARE = 0.95
#: A value this share of the range's width outside it is far outside.
FAR = 0.5
#: Confidence that a value outside the range is an error: doubtful just outside, near certain far outside.
JUST_OUTSIDE, FAR_OUTSIDE = 0.6, 0.99


def finding(analyte: str | None, kind: str, **columns: object) -> dict[str, object]:
    """One finding as a dictionary; scope is the analyte unless given."""
    return {"analyte": analyte, "scope": "analyte", "kind": kind, "applied": False, **columns}


def row_confidence(judged: Judged, value: np.ndarray) -> np.ndarray:
    """Confidence of each row's state; for impossible values that no reading mends, by how far out they are."""
    analyte = vocabulary.analyte(judged.analyte)
    low, high = bounds(analyte)
    confidence = judged.confidence.copy()
    junk = judged.state == len(judged.readings)
    stored = value[judged.index]
    width = high - low
    outside = np.maximum(low - stored, stored - high) / width
    far = np.where(stored == 0.0, True, outside > FAR)
    return np.where(junk, np.minimum(confidence, np.where(far, FAR_OUTSIDE, JUST_OUTSIDE)), confidence)


def from_judged(judged: Judged, table: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Findings of one judged analyte: by batch, by patient, or by rows of a patient, whichever is widest."""
    rows = table.iloc[judged.index]
    work = pd.DataFrame(
        {
            "patient_id": rows["patient_id"].to_numpy(object),
            "batch": rows["batch"].to_numpy(object),
            "time_h": rows["time_h"].to_numpy(),
            "value": rows["value"].to_numpy(),
            "state": judged.state,
            "hard": judged.hard,
            "confidence": row_confidence(judged, table["value"].to_numpy()),
        }
    )
    work["applied"] = work["confidence"] >= threshold
    if not (work["state"] > 0).any():
        return FINDINGS.empty()
    whole = np.abs(work["value"] - np.round(work["value"])) < 1e-9
    shares = whole.groupby(work["state"]).mean()
    work["series_rows"] = work.groupby("patient_id")["value"].transform("size")
    batch = _batches(work)
    found = []
    for (name, state), part in work[batch & (work["state"] > 0)].groupby(["batch", "state"], sort=True):
        found.append(_describe(judged, part, int(state), shares) | {"scope": "batch", "batch": name})
    alone = work[~batch & (work["state"] > 0)]
    for (patient, state, applied), part in alone.groupby(["patient_id", "state", "applied"], sort=True):
        scope = "patient" if len(part) == part["series_rows"].iloc[0] and len(part) > 1 else "row"
        found.append(
            _describe(judged, part, int(state), shares)
            | {"scope": scope, "patient_id": patient, "time_h": part["time_h"].min(), "applied": bool(applied)}
        )
    return FINDINGS.shape_up(pd.DataFrame(found))


def _batches(work: pd.DataFrame) -> pd.Series:
    """Rows that belong to a batch stored (nearly) wholly under one other reading, all of them sure."""
    if work["batch"].isna().all():
        return pd.Series(False, index=work.index)
    name = work["batch"].fillna("")
    size = work.groupby(name)["state"].transform("size")
    same = work.groupby([name, "state"])["state"].transform("size")
    sure = work["applied"].groupby([name, work["state"]]).transform("all")
    return (same / size >= BATCH_SHARE) & (size >= 10) & sure & work["batch"].notna()


def _describe(judged: Judged, part: pd.DataFrame, state: int, shares: pd.Series) -> dict[str, object]:
    analyte = vocabulary.analyte(judged.analyte)
    low, high = part["value"].min(), part["value"].max()
    seen = f"{len(part)} values, {low:g} to {high:g} as stored"
    total = part["series_rows"].iloc[0]
    if len(part) < total and part["patient_id"].nunique() == 1:
        seen += f", of this patient's {total}"
    hard = int(part["hard"].sum())
    if hard:
        seen += f"; {hard} impossible in {analyte.unit} (plausible {analyte.low:g} to {analyte.high:g})"
    common = {
        "n_rows": len(part), "confidence": float(part["confidence"].min()), "applied": bool(part["applied"].all())
    }  # fmt: skip
    if state == len(judged.readings):
        return finding(judged.analyte, "value.implausible", proposal="set aside", evidence=seen, **common)
    reading = judged.readings[state]
    span = reading.canonical(np.array([low, high]))
    seen += (
        f"; {reading.words}, they lie {span[0]:.4g} to {span[1]:.4g} {analyte.unit} and continue the patient's course"
    )
    if 0 in shares and abs(shares[state] - shares[0]) > 0.1:
        seen += f"; whole numbers: {shares[state]:.0%} of rows read so, {shares[0]:.0%} of rows read as they stand"
    seen += f"; in the cohort {judged.why_open[state]}"
    return finding(
        judged.analyte, "unit.detected", proposal=reading.words, factor=reading.slope, offset=reading.offset,
        evidence=seen, **common,
    )  # fmt: skip
