"""Scores of ordinal forecasts (worst grade, the grade of a day): ranked probability, rank correlation, cut by cut.

The ordinal prediction table has one row for each out-of-sample forecast: ``task, model, landmark_h, horizon_h, repeat,
fold, patient_id``, the ``observed`` category (0 to k - 1) and its forecast probabilities ``p0 ... p(k-1)``. A patient
comes once in a task, model, landmark, horizon and repeat.

References: Epstein ES, J Appl Meteorol 1969;8:985 (ranked probability score); Somers RH, Am Sociol Rev 1962;27:799
(Dxy); Van Calster B et al., Stat Med 2012;31:2610, doi 10.1002/sim.5321 (ordinal discrimination); Edlinger M et al.,
Stat Med 2022;41:1334, doi 10.1002/sim.9281 (calibration of ordinal forecasts, cut by cut).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.errors import DataError, Problem
from icans.evaluate.bootstrap import patient_counts, percentile_interval
from icans.evaluate.calibration import binary_calibration
from icans.evaluate.censoring import Floats
from icans.evaluate.discrimination import auroc, ranked_probability_score, somers_dxy

CELL = ["task", "landmark_h", "horizon_h"]
KEYS = ["task", "model", "landmark_h", "horizon_h", "repeat", "patient_id"]
#: A cut with fewer patients on either side is not judged (rule for groups of patients).
FEW = 20
#: Numbers of each cut.
CUT_METRICS = ("auc", "oe", "intercept", "slope", "ici")


def categories(table: pd.DataFrame) -> list[str]:
    """The probability columns ``p0, p1 ...`` of an ordinal prediction table, in order."""
    found: list[str] = []
    while f"p{len(found)}" in table:
        found.append(f"p{len(found)}")
    return found


def check_ordinal(table: pd.DataFrame) -> pd.DataFrame:
    """The table with plain types, sorted by patient.

    Raises
    ------
    DataError
        Columns are missing, probabilities do not add up to 1, an observed category does not exist, a patient comes
        twice, or a patient's outcome differs between rows.
    """
    names = categories(table)
    wanted = [c for c in (*KEYS, "observed") if c != "repeat"]
    missing = [c for c in wanted if c not in table]
    if len(names) < 2:
        missing.append("p0, p1 ...")
    if missing:
        raise DataError([_problem(None, c, None, "a column of this name") for c in missing])
    frame = table if "repeat" in table else table.assign(repeat=0)
    p = frame[names].to_numpy(dtype=float)
    y = frame["observed"].to_numpy(dtype=float)
    checks: tuple[tuple[str, NDArray[np.bool_], str], ...] = (
        (names[0], ~np.isfinite(p).all(axis=1) | (p < -1e-9).any(axis=1), "probabilities"),
        (names[0], np.abs(np.nan_to_num(p).sum(axis=1) - 1) > 1e-6, "probabilities that add up to 1"),
        ("observed", ~np.isin(y, np.arange(len(names))), f"a category, 0 to {len(names) - 1}"),
        ("patient_id", frame.duplicated(KEYS).to_numpy(), "each patient once in a cell and repeat"),
        ("observed", frame.groupby([*CELL, "patient_id"])["observed"].transform("nunique").to_numpy() > 1,
         "one outcome for a patient and cell"),
    )  # fmt: skip
    problems = [
        _problem(int(i) + 1, column, str(frame[column].iloc[i]), expected)
        for column, bad, expected in checks
        for i in np.flatnonzero(bad)
    ]
    if problems:
        raise DataError(problems)
    return frame.sort_values(KEYS, ignore_index=True)


@dataclass(frozen=True)
class _Cell:
    """Metrics of one model in one cell: values, and values of every resample."""

    key: dict[str, object]
    n: int
    events: NDArray[np.int64]
    value: dict[str, float]
    drawn: dict[str, Floats]


def ordinal_scores(
    table: pd.DataFrame, *, n_boot: int = 200, seed: int = 0, level: float = 0.95, cuts: Sequence[int] | None = None
) -> pd.DataFrame:
    """Every ordinal score of every task, model, landmark and horizon, with patient-bootstrap intervals.

    Parameters
    ----------
    table
        Ordinal prediction table (see the module's text).
    n_boot, seed, level
        Resamples of patients, seed, level of intervals.
    cuts
        Categories k whose "at least k" is judged as a forecast of its own; default: every one.

    Returns
    -------
    DataFrame
        task, model, landmark_h, horizon_h, metric, value, low, high, n, events, note. Metrics: ``rps`` (0 is
        perfect), ``rps_skill`` (share of the observed distribution's score removed), ``dxy`` (of the expected
        category), and for each cut ``auc_ge<k>``, ``oe_ge<k>``, ``intercept_ge<k>``, ``slope_ge<k>``, ``ici_ge<k>``;
        ``events`` is the number at or above the cut. A cut with fewer than 20 on either side has no value.
    """
    rows = []
    for cell in _cells(table, n_boot, seed, cuts):
        for name, value in cell.value.items():
            interval = percentile_interval(value, cell.drawn[name], level)
            cut = int(name.split("_ge")[1]) if "_ge" in name else None
            events = cell.n if cut is None else int(cell.events[cut])
            few = cut is not None and min(events, cell.n - events) < FEW
            rows.append(
                {**cell.key, "metric": name, "value": interval.value, "low": interval.low, "high": interval.high,
                 "n": cell.n, "events": events,
                 "note": f"fewer than {FEW} on one side of the cut: uninformative" if few else ""}
            )  # fmt: skip
    return pd.DataFrame(rows)


def compare_ordinal(
    table: pd.DataFrame, reference_model: str, *, n_boot: int = 200, seed: int = 0, level: float = 0.95
) -> pd.DataFrame:
    """Each model minus the reference in the same resamples: ``rps`` (lower is better) and ``dxy``.

    Returns
    -------
    DataFrame
        task, model, reference_model, landmark_h, horizon_h, metric, difference, low, high, n, better.
    """
    cells = _cells(table, n_boot, seed, ())
    base = {
        (c.key["task"], c.key["landmark_h"], c.key["horizon_h"]): c for c in cells if c.key["model"] == reference_model
    }
    if not base:
        raise KeyError(f"no model {reference_model!r} in the ordinal prediction table")
    rows = []
    for cell in cells:
        other = base.get((cell.key["task"], cell.key["landmark_h"], cell.key["horizon_h"]))
        if other is None or cell is other or cell.n != other.n:
            continue
        for name, good in (("rps", -1), ("dxy", 1)):
            gap = percentile_interval(cell.value[name] - other.value[name], cell.drawn[name] - other.drawn[name], level)
            clear = np.isfinite([gap.low, gap.high]).all() and not gap.low <= 0 <= gap.high
            rows.append(
                {**cell.key, "reference_model": reference_model, "metric": name, "difference": gap.value,
                 "low": gap.low, "high": gap.high, "n": cell.n,
                 "better": "unclear" if not clear else "yes" if gap.value * good > 0 else "no"}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _cells(table: pd.DataFrame, n_boot: int, seed: int, cuts: Sequence[int] | None) -> list[_Cell]:
    frame = check_ordinal(table)
    names = categories(frame)
    found = []
    for (task, model, landmark, horizon), rows in frame.groupby(KEYS[:4], sort=False):
        key = {"task": task, "model": model, "landmark_h": float(landmark), "horizon_h": float(horizon)}
        repeats = [part for _, part in rows.groupby("repeat")]
        ids = np.unique(rows["patient_id"].to_numpy().astype(str))
        counts = patient_counts(ids, n_boot, seed, str(task), float(landmark)) if n_boot else np.ones((0, len(ids)))
        weights = np.vstack([np.ones(len(ids)), counts])
        each = []
        for part in repeats:
            column = np.searchsorted(ids, part["patient_id"].to_numpy().astype(str))
            y, p = part["observed"].to_numpy(dtype=int), part[names].to_numpy(dtype=float)
            each.append(_scores(y, p, weights[:, column], cuts))
        first = rows.drop_duplicates("patient_id")["observed"].to_numpy(dtype=int)
        events = np.array([(first >= k).sum() for k in range(len(names))])
        mean = {m: np.mean([e[m] for e in each], axis=0) for m in each[0]}
        found.append(
            _Cell(key, len(ids), events, {m: float(v[0]) for m, v in mean.items()}, {m: v[1:] for m, v in mean.items()})
        )
    return found


def _scores(y: NDArray[np.int64], p: Floats, weights: Floats, cuts: Sequence[int] | None) -> dict[str, Floats]:
    """Scores under each row of weights, shape (B,)."""
    k = p.shape[1]
    total = np.maximum(weights.sum(axis=1), 1e-300)
    share = np.stack([(weights * (y <= c)).sum(axis=1) / total for c in range(k - 1)], axis=1)
    climate = (share * (1 - share)).mean(axis=1)  # the score of the observed distribution itself
    rps = ranked_probability_score(y, p, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        skill = np.where(climate > 0, 1 - rps / climate, np.nan)
    found = {"rps": rps, "rps_skill": skill, "dxy": somers_dxy(y, p @ np.arange(k), weights)}
    for cut in range(1, k) if cuts is None else cuts:
        above, risk = (y >= cut).astype(float), np.clip(p[:, cut:].sum(axis=1), 0.0, 1.0)
        if min(above.sum(), len(y) - above.sum()) < FEW:
            found |= {f"{m}_ge{cut}": np.full(len(weights), np.nan) for m in CUT_METRICS}
            continue
        numbers = binary_calibration(above, risk, weights)
        found[f"auc_ge{cut}"] = auroc(above, risk, weights)
        found |= {f"{m}_ge{cut}": np.asarray(getattr(numbers, m)) for m in CUT_METRICS[1:]}
    return found


def _problem(row: int | None, column: str, value: str | None, expected: str) -> Problem:
    return Problem("ordinal prediction table", row, column, value, expected, "Mend the table.")
