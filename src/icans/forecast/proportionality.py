"""Are a feature's odds the same at every cut of an ordered outcome? Score test, Brant's test, and what to do.

The score test compares the proportional-odds fit with the model in which effects may differ between cuts; it needs
no fit of the larger model. With repeated rows of a patient the scores are summed by patient first (robust form).
Brant's test compares separate binary fits at each cut. Either is made for the whole model and for each column.

References: Peterson B, Harrell FE, Appl Stat 1990;39:205 (score test); Brant R, Biometrics 1990;46:1171; the robust
form: Boos DD, Am Stat 1992;46:327.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import chi2

from icans.core.errors import NotEstimableError
from icans.forecast.ordinal import FittedOrdered, OrderedRegression, design
from icans.forecast.ordinal_likelihood import Ordered, derivatives, score_rows
from icans.forecast.ridge import expit

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

#: Columns are freed one after the other while the smallest p-value is below this divided by their number.
LEVEL = 0.05


def score_test(
    X: Floats, y: Ints, names: Sequence[str], *, groups: Sequence[object] | None = None, link: str = "cumulative"
) -> pd.DataFrame:
    """Score test of equal effects at every cut, unpenalised.

    Parameters
    ----------
    X, y, names
        Shape (n, p), ordered categories, names of the columns.
    groups
        Patient of each row where patients repeat: the covariance of the scores is then that of patients.

    Returns
    -------
    DataFrame
        One row for each column and one ``(all)``: statistic, df, p.

    Raises
    ------
    NotEstimableError
        Fewer than three categories (there is nothing to compare), or a singular model.
    """
    small, data = _null(X, y, link)
    p, cuts = X.shape[1], data.cuts
    theta = np.r_[small.theta, np.zeros((cuts - 1) * p)]
    gradient, information = derivatives(data, theta, small.link)
    rows = score_rows(data, theta, small.link)
    if groups is not None:
        rows = pd.DataFrame(rows).groupby(pd.Series(list(groups)).to_numpy(), sort=False).sum().to_numpy()
    base = np.arange(cuts + p)
    found = []
    for name, columns in [*((name, [k]) for k, name in enumerate(names)), ("(all)", list(range(p)))]:
        more = np.array([cuts + p + j * p + k for j in range(cuts - 1) for k in columns])
        found.append({"column": name, **_score(gradient, information, rows, base, more, groups is not None)})
    return pd.DataFrame(found)


def _null(X: Floats, y: Ints, link: str) -> tuple[FittedOrdered, Ordered]:
    """The fit with common effects, and the data with the design in which every effect may differ."""
    levels, code = np.unique(y, return_inverse=True)
    if len(levels) < 3:
        raise NotEstimableError("two categories have one cut: proportional odds cannot be violated")
    small = OrderedRegression(link="adjacent" if link == "adjacent" else "cumulative").fit(X, y)
    cuts = len(levels) - 1
    data = Ordered(design(X, cuts, range(X.shape[1])), code.astype(np.intp), np.ones(len(y)), np.zeros((len(y), cuts)))
    return small, data


def _score(
    gradient: Floats, information: Floats, rows: Floats, base: Ints, more: Ints, robust: bool
) -> dict[str, float]:
    """The score of the added coefficients after those of the smaller model are allowed for."""
    inner = information[np.ix_(base, base)]
    if np.linalg.cond(inner) > 1e12:
        raise NotEstimableError("the proportional-odds model is singular: fewer columns")
    carry = np.linalg.solve(inner, information[np.ix_(base, more)]).T
    score = gradient[more] - carry @ gradient[base]
    if robust:
        parts = rows[:, more] - rows[:, base] @ carry.T
        covariance = parts.T @ parts
    else:
        covariance = information[np.ix_(more, more)] - carry @ information[np.ix_(base, more)]
    statistic = float(score @ np.linalg.pinv(covariance, hermitian=True) @ score)
    df = int(np.linalg.matrix_rank(covariance, hermitian=True))
    return {"statistic": statistic, "df": float(df), "p": float(chi2.sf(statistic, df)) if df else 1.0}


def brant_test(X: Floats, y: Ints, names: Sequence[str]) -> pd.DataFrame:
    """Brant's Wald test from separate binary logistic fits at each cut.

    Returns
    -------
    DataFrame
        One row for each column and one ``(all)``: statistic, df, p.

    Raises
    ------
    NotEstimableError
        Fewer than three categories, or a cut at which the classes are separated.
    """
    levels, code = np.unique(y, return_inverse=True)
    cuts, p = len(levels) - 1, X.shape[1]
    if cuts < 2:
        raise NotEstimableError("two categories have one cut: proportional odds cannot be violated")
    ones = np.column_stack([np.ones(len(y)), X])
    fits = [_binary(ones, (code > j).astype(float)) for j in range(cuts)]
    beta = np.concatenate([b[1:] for b, _ in fits])
    covariance = np.zeros((cuts * p, cuts * p))
    bread = [np.linalg.inv(ones.T @ ((q * (1 - q))[:, None] * ones)) for _, q in fits]
    for j in range(cuts):
        for k in range(j, cuts):
            weight = fits[k][1] * (1 - fits[j][1])  # cov of 1{y > j} and 1{y > k}, k above j
            block = (bread[j] @ (ones.T @ (weight[:, None] * ones)) @ bread[k])[1:, 1:]
            covariance[j * p : (j + 1) * p, k * p : (k + 1) * p] = block
            covariance[k * p : (k + 1) * p, j * p : (j + 1) * p] = block.T
    found = []
    for name, columns in [*((name, [k]) for k, name in enumerate(names)), ("(all)", list(range(p)))]:
        contrast = np.zeros(((cuts - 1) * len(columns), cuts * p))
        for row, (j, k) in enumerate((j, k) for j in range(1, cuts) for k in columns):
            contrast[row, k], contrast[row, j * p + k] = -1.0, 1.0
        gap = contrast @ beta
        statistic = float(gap @ np.linalg.solve(contrast @ covariance @ contrast.T, gap))
        df = len(contrast)
        found.append({"column": name, "statistic": statistic, "df": float(df), "p": float(chi2.sf(statistic, df))})
    return pd.DataFrame(found)


def _binary(design_: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Unpenalised logistic regression: coefficients and probabilities."""
    beta = np.zeros(design_.shape[1])
    for _ in range(50):
        q = expit(design_ @ beta)
        information = design_.T @ ((q * (1 - q))[:, None] * design_)
        if np.linalg.cond(information) > 1e12:
            raise NotEstimableError("the classes are separated at a cut: Brant's test does not exist")
        step = np.linalg.solve(information, design_.T @ (y - q))
        beta = beta + step
        if np.abs(step).max() < 1e-10:
            break
    if np.abs(beta).max() > 20:
        raise NotEstimableError("the classes are separated at a cut: Brant's test does not exist")
    return beta, expit(design_ @ beta)


def free_columns(
    X: Floats, y: Ints, names: Sequence[str], *, groups: Sequence[object] | None = None, level: float = LEVEL
) -> tuple[tuple[int, ...], pd.DataFrame]:
    """Columns whose effects should be let differ between cuts (Holm's correction), and the table of the score test.

    A table that cannot be made (two categories, separated data) frees nothing and is empty.
    """
    try:
        table = score_test(X, y, names, groups=groups)
    except NotEstimableError:
        return (), pd.DataFrame(columns=["column", "statistic", "df", "p"])
    p = table["p"].to_numpy()[:-1]
    freed = []
    for rank, k in enumerate(np.argsort(p)):
        if p[k] * (len(p) - rank) > level:
            break
        freed.append(int(k))
    return tuple(sorted(freed)), table
