"""Limits of quantification that nobody declared: values that pile up at the ends of an analyte.

Rounding makes ties everywhere, so a pile is judged against what a smooth density would put there. For each
candidate the counts of the grid cells just inside it are fitted by a Poisson regression, log-quadratic in the
logarithm of the value, and extrapolated to the candidate's own cell with the uncertainty of the fit. A limit is a
value that holds far more rows than that, with hardly anything beyond it. Several limits at one end are the rule
where plates differ; each is tested by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.cohort import schema, vocabulary
from icans.cohort.cohort import change_rows, stack
from icans.harmonize.findings import FINDINGS, finding
from icans.harmonize.precision import MAX_DECIMALS, grid

Array = npt.NDArray[np.float64]

#: Rows that a limit must hold: fewer cannot be told from chance ties.
ROWS = 3
#: Probability, over all candidates of one end, of calling a limit where the density is smooth.
ALPHA = 1e-3
#: Excess over the smooth expectation (its upper limit) that a limit must show: a density is never quite log-quadratic.
EXCESS = 3.0
#: Share of the rows that may lie beyond a limit without lying at another one. Floors differ from plate to plate and
#: blend into values; a ceiling with many values above it is something else.
BEYOND = {"left": 0.1, "right": 0.02}
#: Rows inside the candidate that the density is fitted to (nearest first), and cells at most.
INSIDE_ROWS, INSIDE_CELLS = 150, 40
#: Rows that one value may count towards those, so that piles do not use up the window.
PILE_CAP = 10
#: Nearest distinct values that tell the grid: numbers with three significant digits are coarser further out.
NEAREST, NEAREST_SHARE = 12, 0.6
#: Equally round values that must fit inside a candidate before its roundness counts.
PEER_CELLS = 6
#: Distinct values looked at from each end.
CANDIDATES = 40
#: Standard errors added to the extrapolated log count.
STANDARD_ERRORS = 2.0
#: Where consecutive values of a patient repeat this often, repeats are counted once: values are carried forward.
REPEATS = 0.05
#: Rows that an analyte (in a batch) must have.
SMALLEST = 30


@dataclass(frozen=True)
class Limits:
    """The table with limits marked, the record and the findings."""

    table: pd.DataFrame
    changes: pd.DataFrame
    findings: pd.DataFrame


def find_limits(table: pd.DataFrame) -> Limits:
    """Find undeclared floors and ceilings of each concentration, by batch where batches are named.

    Rows at a limit get ``censor`` and ``limit``; the value stays and equals the limit. Rows whose censoring was
    declared are left as they are and take no part. Only analytes on a log scale are searched (scores, fractions
    and vital signs have natural ends).
    """
    wanted = [name for name in table["analyte"].unique() if _eligible(name)]
    open_ = (table["censor"] == "none") & table["value"].gt(0) & table["analyte"].isin(wanted)
    index = np.flatnonzero(open_.to_numpy())
    if not len(index):
        return Limits(table, schema.CHANGES.empty(), FINDINGS.empty())
    part = table.iloc[index][["analyte", "batch", "patient_id", "value"]].assign(row=index)
    part["patient_id"] = pd.factorize(part["patient_id"])[0]
    censor, limit = table["censor"].to_numpy(dtype=object), table["limit"].to_numpy().copy()
    changes, found = [], []
    for (name, batch), rows in part.groupby(["analyte", part["batch"].fillna("")], sort=True):
        value, patient, where = rows["value"].to_numpy(), rows["patient_id"].to_numpy(), rows["row"].to_numpy()
        for side in ("left", "right"):
            for pile in piles(value, side, patient):
                at = where[value == pile.value]
                censor[at], limit[at] = side, pile.value
                words = "at or below" if side == "left" else "at or above"
                why = f"{pile.rows} values of exactly {pile.value:g} where a smooth density puts {pile.expected:.2g}"
                changes.append(
                    change_rows("measurements", "limit.detected", f"{why}: read as {words} the limit", item=name,
                                column="censor", old="none", new=f"{side} {pile.value:g}", confidence=pile.confidence,
                                rows=pile.rows)
                )  # fmt: skip
                found.append(
                    finding(name, "limit.floor" if side == "left" else "limit.ceiling", batch=batch or None,
                            scope="batch" if batch else "analyte", proposal=f"{words} {pile.value:g}", n_rows=pile.rows,
                            confidence=pile.confidence, evidence=f"{why}; {pile.beyond} rows lie beyond", applied=True)
                )  # fmt: skip
    table = table.assign(censor=pd.array(censor, dtype=schema.TEXT), limit=limit)
    frame = FINDINGS.shape_up(pd.DataFrame(found)) if found else FINDINGS.empty()
    return Limits(table, stack(schema.CHANGES, changes), frame)


def _eligible(name: str) -> bool:
    analyte = vocabulary.analytes().get(name)
    return analyte is not None and analyte.log and analyte.group != "vital sign"


@dataclass(frozen=True, slots=True)
class Pile:
    """A limit: its value, rows at it, rows a smooth density would put there, rows beyond it, confidence."""

    value: float
    rows: int
    expected: float
    beyond: int
    confidence: float


def piles(value: npt.ArrayLike, side: str, patient: npt.ArrayLike | None = None) -> list[Pile]:
    """Limits at one end of a sample of positive values, from the end inwards.

    Parameters
    ----------
    value
        Shape (n,), in order of time within patients where ``patient`` is given.
    side
        ``"left"`` (floors) or ``"right"`` (ceilings).
    patient
        Shape (n,), for counting carried-forward values once.
    """
    array = np.asarray(value, dtype=float)
    if len(array) < SMALLEST:
        return []
    sign = 1.0 if side == "left" else -1.0
    distinct, counts = np.unique(array, return_counts=True)
    effective = counts if patient is None else _runs(array, np.asarray(patient), distinct, counts)
    if side == "right":
        distinct, counts, effective = distinct[::-1], counts[::-1], effective[::-1]
    found: list[Pile] = []
    spare = 0
    for k in range(min(CANDIDATES, len(distinct) - 4)):
        if spare > BEYOND[side] * len(array):
            break
        if effective[k] >= ROWS:
            pile = _test(distinct, counts, int(effective[k]), k, sign, spare)
            if pile is not None:
                found.append(pile)
                continue
        spare += int(counts[k])
    return found


def _runs(
    array: Array, patient: npt.NDArray[np.int64], distinct: Array, counts: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Counts with consecutive repeats of a patient taken once, where repeats are common among ordinary values."""
    same = (patient[1:] == patient[:-1]) if len(array) > 1 else np.zeros(0, dtype=bool)
    repeats = same & (array[1:] == array[:-1])
    ordinary = counts[np.searchsorted(distinct, array[1:])] <= max(ROWS, 0.02 * len(array))
    if not (same & ordinary).any() or np.mean(repeats[same & ordinary]) < REPEATS:
        return counts
    first = np.concatenate([[True], ~repeats])
    return np.bincount(np.searchsorted(distinct, array[first]), minlength=len(distinct))


def _test(distinct: Array, counts: npt.NDArray[np.int64], rows: int, k: int, sign: float, beyond: int) -> Pile | None:
    """Whether distinct value ``k`` (counted from the end) is a limit.

    It must stand out twice: among all values inside it, and among those that are as round as it is, because people
    and machines prefer round numbers everywhere, not only at limits.
    """
    inside, held = distinct[k + 1 :], counts[k + 1 :]
    stop = max(int(np.searchsorted(np.cumsum(np.minimum(held, PILE_CAP)), INSIDE_ROWS)) + 1, 8)
    inside, held, here = inside[:stop], held[:stop], float(distinct[k])
    step = grid(np.repeat(inside[:NEAREST], np.minimum(held[:NEAREST], ROWS)), share=NEAREST_SHARE)
    expected, upper = _expected(inside, held, here, sign * step)
    for as_round in _roundness(here, step, abs(float(inside[-1]) - here)):
        scaled = inside / as_round
        peers = np.abs(scaled - np.round(scaled)) < 1e-6 * np.maximum(1.0, np.abs(scaled))
        if _preferred(held, peers, step / as_round):
            among = _expected(inside[peers], held[peers], here, sign * as_round, float(inside[-1]))
            expected, upper = max((expected, upper), among, key=lambda pair: pair[1])
    if not np.isfinite(upper) or rows < EXCESS * upper:
        return None
    p_value = poisson_tail(rows, upper)
    if p_value > ALPHA / CANDIDATES:
        return None
    return Pile(here, int(counts[k]), expected, beyond, float(1.0 - min(1.0, CANDIDATES * p_value)))


def poisson_tail(rows: int, mean: float) -> float:
    """P(X >= rows) of a Poisson variable, for ``rows`` of at least its mean: from there on the terms fall.

    The same as ``scipy.special.pdtrc(rows - 1, mean)``, whose import takes a third of a second.
    """
    if mean <= 0:
        return float(rows <= 0)
    term = math.exp(rows * math.log(mean) - mean - math.lgamma(rows + 1))
    total, k = 0.0, rows
    while term > 1e-17 * total or k < mean:
        total += term
        k += 1
        term *= mean / k
    return total


def _roundness(here: float, step: float, width: float) -> list[float]:
    """Powers of ten coarser than the grid that divide a value and leave :data:`PEER_CELLS` multiples in ``width``."""
    found = []
    for exponent in range(5, -MAX_DECIMALS - 1, -1):
        coarse = 10.0**exponent
        scaled = here / coarse
        divides = abs(scaled - round(scaled)) < 1e-6 * max(1.0, abs(scaled))
        if step < coarse <= width / PEER_CELLS and divides:
            found.append(coarse)
    return found


def _preferred(held: npt.NDArray[np.int64], peers: npt.NDArray[np.bool_], share: float) -> bool:
    """Whether round values hold more rows than their share of the grid: digit preference."""
    usual = np.minimum(held, max(ROWS, int(np.median(held)) * ROWS))
    expected = share * float(usual.sum())
    return float(usual[peers].sum()) > expected + 3.0 * np.sqrt(expected + 1.0)


def _expected(
    inside: Array, held: npt.NDArray[np.int64], here: float, step: float, end: float | None = None
) -> tuple[float, float]:
    """Rows that the density of ``inside`` puts into the cell at ``here``, and their upper limit."""
    cell = np.maximum(np.round((inside - here) / step).astype(np.int64), 1)
    last = max(int(cell.max(initial=1)), 4 if end is None else int(abs((end - here) / step)))
    filled, centre, width = _coarsen(cell, held, here, step, last)
    if len(filled) < 4:
        return 0.0, np.inf
    return _extrapolate(filled, centre, width, here)


def _coarsen(
    cell: npt.NDArray[np.int64], held: npt.NDArray[np.int64], here: float, step: float, last: int
) -> tuple[Array, Array, Array]:
    """Cells joined so that about :data:`INSIDE_CELLS` remain: counts, centres, widths (in steps)."""
    joined = int(np.ceil(last / INSIDE_CELLS))
    count = max(last // joined, 1)
    place = (cell - 1) // joined
    counts = np.bincount(place[place < count], held[place < count], minlength=count)
    centre = np.asarray(here + step * (1 + joined * np.arange(count) + (joined - 1) / 2.0), dtype=np.float64)
    keep = centre > 0
    return counts[keep].astype(float), centre[keep], np.full(int(keep.sum()), float(joined))


def _extrapolate(counts: Array, centre: Array, width: Array, here: float) -> tuple[float, float]:
    """Rows that the density inside puts into the cell at ``here``: best estimate and upper limit.

    The Poisson regression is made robust by one round of trimming: cells far above the first fit are further
    limits, not density.
    """
    scale = np.log(centre / here)
    unit = max(float(np.max(np.abs(scale))), 1e-9)
    design = np.stack([np.ones_like(scale), scale / unit, (scale / unit) ** 2], axis=1)
    offset = np.log(width)
    keep = counts <= np.median(counts) + 6.0 * np.sqrt(np.median(counts) + 1.0)
    best, upper = 0.0, np.inf
    for _ in range(2):
        if keep.sum() < 4:
            return best, np.inf
        beta, covariance = _poisson(design[keep], counts[keep], offset[keep])
        fitted = np.exp(np.clip(design @ beta + offset, -30, 30))
        keep = counts <= fitted + 5.0 * np.sqrt(fitted + 1.0)
        best = float(np.exp(np.clip(beta[0], -30, 30)))
        upper = float(np.exp(np.clip(beta[0] + STANDARD_ERRORS * np.sqrt(covariance[0, 0]), -30, 30)))
    return best, upper + 1.0 / len(counts)


def _poisson(design: Array, counts: Array, offset: Array) -> tuple[Array, Array]:
    """Poisson regression by Newton steps with a weak ridge on slope and curvature; estimates and covariance."""
    ridge = np.diag([1e-6, 0.05, 0.05])
    beta = np.array([np.log((counts.sum() + 0.5) / np.exp(offset).sum()), 0.0, 0.0])
    information = ridge
    for _ in range(30):
        mean = np.exp(np.clip(design @ beta + offset, -30, 30))
        information = design.T @ (mean[:, None] * design) + ridge
        step = np.linalg.solve(information, design.T @ (counts - mean) - ridge @ beta)
        beta = beta + np.clip(step, -3, 3)
        if np.abs(step).max() < 1e-8:
            break
    mean = np.exp(np.clip(design @ beta + offset, -30, 30))
    dispersion = max(1.0, float(np.sum((counts - mean) ** 2 / np.maximum(mean, 0.1)) / max(len(counts) - 3, 1)))
    return beta, dispersion * np.linalg.inv(information)
