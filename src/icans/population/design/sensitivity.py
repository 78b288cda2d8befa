"""Global sensitivity of what a model says to its parameters: Morris screening and Sobol indices (SALib).

Parameters move over the population (normal on their scales) or over ranges. All evaluations go to the model in one
batch, so that a compiled model solves them together. Sobol: Saltelli 2002 (doi 10.1016/S0010-4655(02)00280-1), total
effects as Jansen's; Morris 1991 with optimised trajectories (doi 10.1080/00401706.1991.10484804; Campolongo 2007).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import ModelError, Problem

Array = npt.NDArray[np.float64]
#: A batch of parameter sets (n, parameters) to quantities (n, quantities).
Batch = Callable[[Array], Array]


@dataclass(frozen=True)
class Varied:
    """A parameter that moves: normal(``middle``, ``sd``) on its scale, or uniform from ``low`` to ``high``."""

    name: str
    middle: float = 0.0
    sd: float = 0.0
    low: float = 0.0
    high: float = 0.0

    @property
    def bounds(self) -> list[float]:
        """Bounds as SALib wants them."""
        return [self.middle, self.sd] if self.sd > 0.0 else [self.low, self.high]

    @property
    def distribution(self) -> str:
        """SALib's word for it."""
        return "norm" if self.sd > 0.0 else "unif"


def _problem(varied: Sequence[Varied]) -> dict[str, object]:
    wrong = [v for v in varied if v.sd <= 0.0 and not v.low < v.high]
    if wrong:
        remedy = "Give an SD above 0, or low below high."
        raise ModelError([Problem("varied", None, v.name, str(v), "a range", remedy) for v in wrong])
    return {"num_vars": len(varied), "names": [v.name for v in varied], "bounds": [v.bounds for v in varied],
            "dists": [v.distribution for v in varied]}  # fmt: skip


def sobol(model: Batch, varied: Sequence[Varied], quantities: Sequence[str], n: int, seed: int) -> pd.DataFrame:
    """First-order and total indices with bootstrap 95 % half-widths: a row per quantity and parameter.

    ``n``: base samples (a power of two); the model is evaluated ``n (k + 2)`` times. Sets that fail (NaN) take the
    median of the others and are counted in ``failed``.

    Raises
    ------
    ModelError
        A parameter without a range, or ``n`` that is no power of two.
    """
    from SALib.analyze import sobol as analyse
    from SALib.sample import sobol as sample

    problem = _problem(varied)
    if n < 2 or n & (n - 1):
        raise ModelError(
            [Problem("sobol", None, "n", str(n), "a power of two", f"Take {1 << max(1, n.bit_length())}.")]
        )
    x = sample.sample(problem, n, calc_second_order=False, seed=seed)
    y, failed = _filled(model(x))
    rows = []
    for q, name in enumerate(quantities):
        if np.ptp(y[:, q]) == 0.0:
            rows += [(name, v.name, 0.0, 0.0, 0.0, 0.0, int(failed[q])) for v in varied]
            continue
        column = (y[:, q] - y[:, q].mean()) / y[:, q].std()
        got = analyse.analyze(problem, column, calc_second_order=False, seed=seed)
        for j, v in enumerate(varied):
            rows.append(
                (name, v.name, got["S1"][j], got["S1_conf"][j], got["ST"][j], got["ST_conf"][j], int(failed[q]))
            )
    columns = ["quantity", "parameter", "first", "first_half", "total", "total_half", "failed"]
    return pd.DataFrame(rows, columns=columns)


def morris(
    model: Batch, varied: Sequence[Varied], quantities: Sequence[str], trajectories: int, seed: int
) -> pd.DataFrame:
    """Elementary effects (in SDs of the quantity): mean, mean of sizes, SD, and its bootstrap 95 % half-width."""
    from SALib.analyze import morris as analyse
    from SALib.sample import morris as sample

    # Levels of a normal lie within its central 95 %: its ends are infinite.
    ends = [
        Varied(v.name, low=v.middle - 1.96 * v.sd, high=v.middle + 1.96 * v.sd) if v.sd > 0.0 else v for v in varied
    ]
    problem = _problem(ends)
    levels = 4
    x = sample.sample(problem, trajectories, num_levels=levels, seed=seed)
    y, failed = _filled(model(x))
    rows = []
    for q, name in enumerate(quantities):
        sd = y[:, q].std()
        column = (y[:, q] - y[:, q].mean()) / (sd if sd > 0.0 else 1.0)
        got = analyse.analyze(problem, x, column, num_levels=levels, seed=seed)
        for j, v in enumerate(varied):
            row = (got["mu"][j], got["mu_star"][j], got["mu_star_conf"][j], got["sigma"][j])
            rows.append((name, v.name, *(float(r) for r in row), int(failed[q])))
    columns = ["quantity", "parameter", "mean", "size", "size_half", "sd", "failed"]
    return pd.DataFrame(rows, columns=columns)


def _filled(y: Array) -> tuple[Array, Array]:
    """Quantities with failed sets replaced by the median, and how many failed."""
    y = np.asarray(y, dtype=float)
    bad = ~np.isfinite(y)
    if bad.all(axis=0).any():
        raise ModelError(
            [Problem("sensitivity", None, None, None, "a set that can be evaluated", "Narrow the ranges.")]
        )
    return np.where(bad, np.nanmedian(np.where(bad, np.nan, y), axis=0), y), bad.sum(axis=0)
