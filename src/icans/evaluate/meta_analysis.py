"""Random-effects meta-analysis of performance over the groups that training left out (internal-external validation).

Groups differ in more than chance. The mean over groups says how a forecast does on average; the prediction interval
says where its performance in a *new* group is to be expected. Performance is pooled on a scale on which it is nearly
normal (C on the logit scale, O/E on the log scale), as Debray and others advise. With 5 to 20 groups a 95 % prediction
interval holds a new group in some 90 % of cases, because the variance between groups is itself estimated from them
(``benchmarks/results/judge.md``); with three it is far too wide.

References: DerSimonian R, Laird N, Control Clin Trials 1986;7:177; Viechtbauer W, J Educ Behav Stat 2005;30:261 (REML);
Hartung J, Knapp G, Stat Med 2001;20:3875 (interval); Higgins JPT et al., J R Stat Soc A 2009;172:137 (prediction
interval); Debray TPA et al., BMJ 2017;356:i6460, doi 10.1136/bmj.i6460 (performance of forecasts).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from icans.core.errors import NotEstimableError
from icans.evaluate.censoring import Floats
from icans.evaluate.performance import Measured

Method = Literal["reml", "dl"]

#: Largest number of steps, and the change of the variance between groups at which REML has settled.
STEPS, TOLERANCE = 1000, 1e-12
#: Metrics that are pooled, each with its scale.
SCALES: dict[str, str] = {
    "auc": "logit",
    "oe": "log",
    "slope": "identity",
    "intercept": "identity",
    "brier_scaled": "identity",
}
_THERE: dict[str, Callable[[Floats], Floats]] = {
    "logit": lambda v: np.log(v / (1 - v)), "log": np.log, "identity": lambda v: v,
}  # fmt: skip
_BACK: dict[str, Callable[[Floats], Floats]] = {
    "logit": lambda v: 1 / (1 + np.exp(-v)), "log": np.exp, "identity": lambda v: v,
}  # fmt: skip
#: A resample's value is kept this far from the ends of the logit scale (an AUC of 1 has no logit).
EDGE = 1e-3
#: Fewest groups with an estimate for a pooled value; the prediction interval needs one more.
MIN_GROUPS = 2


@dataclass(frozen=True)
class Pooled:
    """A pooled value. ``low`` to ``high`` is the interval of the mean (Hartung-Knapp), ``expect_low`` to
    ``expect_high`` the prediction interval of a new group (NaN with fewer than three groups).
    """

    estimate: float
    se: float
    low: float
    high: float
    expect_low: float
    expect_high: float
    tau2: float
    i2: float
    groups: int


def random_effects(
    estimates: ArrayLike, variances: ArrayLike, *, level: float = 0.95, method: Method = "reml"
) -> Pooled:
    """Pool estimates that are independent and have known variances.

    Parameters
    ----------
    estimates, variances
        Shape (k,), on the scale on which they are pooled.
    level
        Level of both intervals.
    method
        ``"reml"`` or ``"dl"`` (DerSimonian-Laird) for the variance between groups.

    Raises
    ------
    NotEstimableError
        Fewer than two groups with an estimate and a positive variance.
    """
    from scipy.stats import t as student

    y, v = np.asarray(estimates, dtype=float), np.asarray(variances, dtype=float)
    good = np.isfinite(y) & np.isfinite(v) & (v > 0)
    y, v = y[good], v[good]
    k = len(y)
    if k < MIN_GROUPS:
        raise NotEstimableError(f"{k} groups with an estimate; pooling needs {MIN_GROUPS}")
    tau2 = _dl(y, v) if method == "dl" else _reml(y, v)
    w = 1 / (v + tau2)
    mean = float((w * y).sum() / w.sum())
    # Hartung-Knapp; never narrower than the usual interval (Röver 2015, BMC Med Res Methodol 15:99).
    scale = max(1.0, float((w * (y - mean) ** 2).sum() / (k - 1)))
    se = float(np.sqrt(scale / w.sum()))
    fixed = 1 / v
    typical = (k - 1) * fixed.sum() / (fixed.sum() ** 2 - (fixed**2).sum())
    half = float(student.ppf(0.5 + level / 2, k - 1)) * se
    reach = np.nan
    if k > MIN_GROUPS:
        reach = float(student.ppf(0.5 + level / 2, k - 2)) * float(np.sqrt(tau2 + se**2))
    i2 = float(tau2 / (tau2 + typical)) if tau2 > 0 else 0.0
    return Pooled(mean, se, mean - half, mean + half, mean - reach, mean + reach, float(tau2), i2, k)


def _dl(y: Floats, v: Floats) -> float:
    w = 1 / v
    mean = (w * y).sum() / w.sum()
    q = (w * (y - mean) ** 2).sum()
    return max(0.0, float((q - (len(y) - 1)) / (w.sum() - (w**2).sum() / w.sum())))


def _reml(y: Floats, v: Floats) -> float:
    """Fisher scoring on the restricted likelihood, kept at or above zero."""
    tau2 = max(_dl(y, v), 0.0)
    for _ in range(STEPS):
        w = 1 / (v + tau2)
        total = w.sum()
        mean = (w * y).sum() / total
        score = (w**2 * (y - mean) ** 2).sum() - total + (w**2).sum() / total
        information = (w**2).sum() - 2 * (w**3).sum() / total + ((w**2).sum() / total) ** 2
        step = float(score / information)
        new = max(0.0, tau2 + step)
        if abs(new - tau2) <= TOLERANCE * (1 + tau2):
            return new
        tau2 = new
    return tau2


def group_estimates(measured: Measured) -> pd.DataFrame:
    """Each metric of :data:`SCALES` on its pooling scale with its bootstrap standard error.

    Returns
    -------
    DataFrame
        task, model, landmark_h, horizon_h, metric, value, scale, estimate, se, n, events. The standard error is NaN
        where fewer than half of the resamples have a value.
    """
    rows = []
    for group, (point, drawn) in zip(measured.groups, measured.values, strict=True):
        counts = group.outcomes()
        for metric, scale in SCALES.items():
            values = _transformed(drawn[metric], scale)
            good = np.isfinite(values)
            se = float(values[good].std(ddof=1)) if good.sum() >= max(10, len(values) / 2) else np.nan
            estimate = float(_transformed(np.array([point[metric]]), scale)[0])
            rows.append(
                {**group.key, "metric": metric, "value": point[metric], "scale": scale, "estimate": estimate,
                 "se": se, "n": counts["n"], "events": counts["events"]}
            )  # fmt: skip
    return pd.DataFrame(rows)


def pool(estimates: pd.DataFrame, *, level: float = 0.95, method: Method = "reml") -> pd.DataFrame:
    """Pool the groups of a table of :func:`group_estimates` (with columns ``by`` and ``group`` added).

    Returns
    -------
    DataFrame
        by, task, model, landmark_h, horizon_h, metric, value, low, high (of the mean), expect_low, expect_high (a new
        group), tau2 and i2 (on the pooling scale), groups, n, events, note.
    """
    keys = ["by", "task", "model", "landmark_h", "horizon_h", "metric"]
    rows = []
    for key, part in estimates.groupby(keys, sort=False):
        about = dict(zip(keys, key, strict=True))
        counts = {"n": int(part["n"].sum()), "events": int(part["events"].sum())}
        back = _BACK[str(part["scale"].iloc[0])]
        try:
            found = random_effects(part["estimate"], part["se"] ** 2, level=level, method=method)
        except NotEstimableError as error:
            rows.append(
                {**about, "value": np.nan, "groups": int(part["se"].notna().sum()), **counts, "note": str(error)}
            )
            continue
        names = {
            "value": "estimate",
            "low": "low",
            "high": "high",
            "expect_low": "expect_low",
            "expect_high": "expect_high",
        }
        shown = {name: float(back(np.array(getattr(found, field)))) for name, field in names.items()}
        note = "" if found.groups > MIN_GROUPS else "two groups: no prediction interval"
        rows.append(
            {**about, **shown, "tau2": found.tau2, "i2": found.i2, "groups": found.groups, **counts, "note": note}
        )
    return pd.DataFrame(rows)


def _transformed(values: Floats, scale: str) -> Floats:
    v = np.asarray(values, dtype=float)
    if scale == "logit":
        v = np.clip(v, EDGE, 1 - EDGE)
    if scale == "log":
        v = np.where(v > 0, v, np.nan)
    return _THERE[scale](v)
