"""Are predictive distributions right? PIT, interval coverage with exact intervals, log score of censored values.

For forecasts of concentrations: draws from the predictive distribution of each measurement, and measurements that may
lie below an assay's limit. Scores of sharpness and calibration together: :mod:`icans.evaluate.crps`.

References: Dawid AP, J R Stat Soc A 1984;147:278 (PIT); Czado C et al., Biometrics 2009;65:1254 (randomised PIT);
Clopper CJ, Pearson ES, Biometrika 1934;26:404 (exact interval); Good IJ, J R Stat Soc B 1952;14:107 (log score).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from icans.core.random import stream
from icans.evaluate.censoring import Floats
from icans.evaluate.crps import covered

#: Levels of the central intervals whose coverage is told.
LEVELS = (0.5, 0.8, 0.9, 0.95)
#: Fewest measurements of a group for a verdict: with 19 a 95 % interval can miss one.
MIN_COUNT = 19


def pit(draws: ArrayLike, y: ArrayLike, *, below: ArrayLike | None = None, seed: int = 0) -> Floats:
    """Probability integral transform of each measurement, shape (n,): uniform on 0-1 when forecasts are right.

    Parameters
    ----------
    draws
        Predictive draws, shape (n, S).
    y
        Measurements, shape (n,); one below the limit of its assay is its limit.
    below
        True where the measurement lies below ``y`` (left-censored): the transform is then drawn evenly from 0 to the
        probability of lying there.
    seed
        Names the draws that spread ties and censored values.
    """
    x, at = np.asarray(draws, dtype=float), np.asarray(y, dtype=float)[:, None]
    less, equal = (x < at).mean(axis=1), (x == at).mean(axis=1)
    u = stream(seed, "pit").random(len(x))
    found = less + u * equal
    if below is not None:
        found = np.where(np.asarray(below, dtype=bool), u * (less + equal), found)
    return np.asarray(found)


def coverage(
    draws: ArrayLike, y: ArrayLike, *, low: ArrayLike | None = None, groups: ArrayLike | None = None,
    levels: tuple[float, ...] = LEVELS, confidence: float = 0.95,
) -> pd.DataFrame:  # fmt: skip
    """Coverage of central predictive intervals, overall and by group.

    Parameters
    ----------
    draws, y
        As in :func:`pit`.
    low
        Limits of quantification, shape (n,): draws and measurements are moved onto them.
    groups
        Group of each measurement (analyte, site ...).
    levels, confidence
        Levels of the intervals; confidence of the exact binomial interval of the coverage.

    Returns
    -------
    DataFrame
        group ("all" first), level, n, covered, value, low, high, verdict (``as stated``: the exact interval holds the
        level; ``too narrow``; ``too wide``; ``uninformative``: fewer than 19). Measurements of one patient are not
        independent: the interval is then too short.
    """
    x, at = np.asarray(draws, dtype=float), np.asarray(y, dtype=float)
    floor = None if low is None else np.asarray(low, dtype=float)
    label = np.full(len(at), "all") if groups is None else np.asarray(groups).astype(str)
    names = ["all"] if groups is None else ["all", *sorted(set(label.tolist()))]
    inside = {level: covered(x, at, level, low=floor) for level in levels}
    rows = []
    for name in names:
        mine = np.ones(len(at), dtype=bool) if name == "all" else label == name
        for level in levels:
            n, k = int(mine.sum()), int(inside[level][mine].sum())
            bottom, top = clopper_pearson(k, n, confidence)
            rows.append(
                {"group": name, "level": level, "n": n, "covered": k, "value": k / n if n else np.nan, "low": bottom,
                 "high": top, "verdict": _verdict(level, n, bottom, top)}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _verdict(level: float, n: int, low: float, high: float) -> str:
    if n < MIN_COUNT:
        return "uninformative"
    return "too narrow" if high < level else "too wide" if low > level else "as stated"


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a proportion ``k`` of ``n`` (0 to 1 where n is 0)."""
    from scipy.stats import beta

    if n == 0:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, k, n - k + 1)) if k else 0.0
    return low, float(beta.ppf(1 - tail, k + 1, n - k)) if k < n else 1.0


def log_score(
    mean: ArrayLike, sd: ArrayLike, y: ArrayLike, *, below: NDArray[np.bool_] | None = None
) -> Floats:  # fmt: skip
    """Log predictive density of normal forecasts, shape (n,) (higher is better); of censored ones the log probability.

    Parameters
    ----------
    mean, sd
        Of the forecast on the scale of the likelihood (logarithm for log-normal assays), shape (n,).
    y
        Measurement on that scale; its limit where ``below``.
    below
        True where the measurement lies below the limit of quantification.
    """
    from scipy.stats import norm

    m, s, at = (np.asarray(v, dtype=float) for v in (mean, sd, y))
    if np.any(s <= 0):
        raise ValueError("standard deviations must be positive")
    seen = norm.logpdf(at, m, s)
    return np.asarray(seen if below is None else np.where(below, norm.logcdf(at, m, s), seen))
