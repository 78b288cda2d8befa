"""Estimates from several imputations pooled into one (Rubin's rules)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pooled:
    """A pooled estimate: value, total variance, degrees of freedom, fraction of missing information."""

    estimate: Array
    variance: Array
    within: Array
    between: Array
    df: Array
    fraction_missing: Array
    relative_increase: Array

    @property
    def standard_error(self) -> Array:
        """Square root of the total variance."""
        return np.sqrt(self.variance)

    def interval(self, level: float = 0.95) -> tuple[Array, Array]:
        """Confidence interval from Student's t with the pooled degrees of freedom."""
        from scipy.stats import norm, t

        tail = 0.5 + level / 2.0
        finite = np.isfinite(self.df)
        quantile = np.where(finite, t.ppf(tail, np.where(finite, self.df, 1.0)), norm.ppf(tail))
        return self.estimate - quantile * self.standard_error, self.estimate + quantile * self.standard_error


def pool(estimates: npt.ArrayLike, variances: npt.ArrayLike, *, complete_df: float = np.inf) -> Pooled:
    """Pool the estimates of m imputed data sets.

    Parameters
    ----------
    estimates, variances
        Shape (m, ...): the estimate and its squared standard error in each completed data set.
    complete_df
        Degrees of freedom that the analysis would have without missing data. Finite values give the small-sample
        degrees of freedom of Barnard and Rubin (1999), infinity those of Rubin (1987).

    Raises
    ------
    ValueError
        Fewer than two imputations, differing shapes, or a negative variance.

    References
    ----------
    Rubin DB. Multiple Imputation for Nonresponse in Surveys. Wiley 1987, doi 10.1002/9780470316696.
    Barnard J, Rubin DB. Biometrika 1999;86:948, doi 10.1093/biomet/86.4.948.
    """
    point, square = np.asarray(estimates, dtype=float), np.asarray(variances, dtype=float)
    if point.shape != square.shape or point.ndim == 0 or len(point) < 2:
        raise ValueError(
            f"estimates and variances need one shape (m, ...) with m >= 2, got {point.shape} and {square.shape}"
        )
    if (square < 0).any():
        raise ValueError("variances must not be negative")
    m = len(point)
    estimate, within = point.mean(axis=0), square.mean(axis=0)
    between = point.var(axis=0, ddof=1)
    extra = (1.0 + 1.0 / m) * between
    total = within + extra
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(total > 0, extra / total, 0.0)
        increase = np.where(within > 0, extra / within, np.inf)
        old = np.where(share > 0, (m - 1) / share**2, np.inf)
        if np.isfinite(complete_df):
            observed = (complete_df + 1.0) / (complete_df + 3.0) * complete_df * (1.0 - share)
            inverse = 1.0 / old + 1.0 / observed
            df = 1.0 / inverse
        else:
            df = old
        missing = np.where(np.isfinite(df), (increase + 2.0 / (df + 3.0)) / (increase + 1.0), share)
    return Pooled(estimate, total, within, between, df, missing, increase)
