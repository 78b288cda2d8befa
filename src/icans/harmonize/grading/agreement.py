"""How well two grades of the same patients agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import NotEstimableError
from icans.core.random import stream

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """Two gradings compared.

    ``table``: counts, rows the first grading, columns the second. ``exact``: share of equal grades.
    ``kappa``: weighted kappa (Cohen 1968, 10.1037/h0026256). Intervals are bootstrap percentiles over patients
    (NaN where kappa is not defined, e.g. everybody in one grade).
    """

    table: pd.DataFrame
    n: int
    exact: float
    exact_ci: tuple[float, float]
    kappa: float
    kappa_ci: tuple[float, float]
    higher_first: int
    higher_second: int


def agreement(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    weights: Literal["quadratic", "linear", "none"] = "quadratic",
    level: float = 0.95,
    replicates: int = 2000,
    seed: int = 1,
) -> Agreement:
    """Agreement of two gradings of the same patients, shape (n,) each; pairs with a NaN are left out.

    Raises
    ------
    NotEstimableError
        No complete pair.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"two gradings of the same patients are needed, not shapes {a.shape} and {b.shape}")
    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    if not len(a):
        raise NotEstimableError("no patient has both grades")
    levels = np.unique(np.concatenate([a, b, np.arange(np.ceil(max(a.max(), b.max())) + 1)]))
    cells = np.searchsorted(levels, a) * len(levels) + np.searchsorted(levels, b)
    counts = np.bincount(cells, minlength=len(levels) ** 2).astype(float)
    matrix = _weights(levels, weights)
    drawn = stream(seed, "agreement").multinomial(len(a), counts / counts.sum(), size=replicates).astype(float)
    shape = (len(levels), len(levels))
    boot = np.array([_kappa(one.reshape(shape), matrix) for one in drawn])
    diagonal = np.eye(len(levels)).ravel().astype(bool)
    square = counts.reshape(shape)
    rows, columns = pd.Index(levels, name="first"), pd.Index(levels, name="second")
    return Agreement(
        table=pd.DataFrame(square.astype(int), index=rows, columns=columns),
        n=len(a),
        exact=float((a == b).mean()),
        exact_ci=_interval(drawn[:, diagonal].sum(axis=1) / len(a), level),
        kappa=_kappa(square, matrix),
        kappa_ci=_interval(boot, level),
        higher_first=int((a > b).sum()),
        higher_second=int((b > a).sum()),
    )


def _weights(levels: Array, kind: str) -> Array:
    """Disagreement of each pair of grades, 0 on the diagonal."""
    distance = np.abs(levels[:, None] - levels[None, :])
    return {"quadratic": distance**2, "linear": distance, "none": (distance > 0).astype(float)}[kind]


def _kappa(table: Array, disagreement: Array) -> float:
    total = table.sum()
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / total
    by_chance = (disagreement * expected).sum()
    return float(1 - (disagreement * table).sum() / by_chance) if by_chance > 0 else float("nan")


def _interval(values: Array, level: float) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
