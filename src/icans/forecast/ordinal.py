"""A regression for an ordered outcome with a ridge: proportional odds or adjacent categories, a path of penalties.

:class:`OrderedRegression` is the plain statistical model (numbers in, numbers out); the ladder's rung for grades is
:mod:`icans.forecast.models.grades`. Whether the effects are indeed the same at every cut is asked in
:mod:`icans.forecast.proportionality`; where they are not, ``free`` names the columns whose effects may differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError
from icans.forecast.ordinal_likelihood import Link, Ordered, derivatives, log_likelihood, maximise, probabilities

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

#: Ridge on the differences between cuts, relative to that on a common effect: they are a refinement.
FREE_PENALTY = 4.0


@dataclass(frozen=True)
class OrderedRegression:
    """Settings; :meth:`fit` gives a :class:`FittedOrdered`.

    Parameters
    ----------
    link
        ``cumulative`` (proportional odds) or ``adjacent``.
    penalty
        Ridge on coefficients, on the *mean* log likelihood (columns on a common scale). Cut points are free.
    free
        Columns whose effect may differ between cuts (partial proportional odds).
    """

    link: Link = "cumulative"
    penalty: float = 0.0
    free: tuple[int, ...] = ()

    def fit(self, X: Floats, y: Ints, weight: Floats | None = None, offset: Floats | None = None) -> FittedOrdered:
        """Fit to ordered categories.

        Parameters
        ----------
        X
            Shape (n, p), without missing values.
        y
            Categories, any whole numbers; those that do not occur get no probability.
        weight
            Shape (n,), not negative.
        offset
            Added to the linear predictors of the cuts between the categories that occur, shape (n, J).

        Raises
        ------
        NotEstimableError
            Fewer than two categories with weight, or a singular information matrix.
        """
        return self.fit_path([self.penalty], X, y, weight, offset)[0]

    def fit_path(
        self, penalties: Sequence[float], X: Floats, y: Ints, weight: Floats | None = None,
        offset: Floats | None = None,
    ) -> list[FittedOrdered]:  # fmt: skip
        """One model for each penalty, each begun where the one before ended (strongest first is best)."""
        w = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=float)
        seen = w > 0
        levels, code = np.unique(y[seen], return_inverse=True)
        if len(levels) < 2:
            raise NotEstimableError("all training rows are of one category: nothing to order")
        cuts, scale = len(levels) - 1, w[seen].sum()
        shift = np.zeros((int(seen.sum()), cuts)) if offset is None else offset[seen]
        data = Ordered(design(X[seen], cuts, self.free), code.astype(np.intp), w[seen] / scale, shift)
        theta = np.zeros(data.z.shape[2])
        theta[:cuts] = _first_cuts(data, self.link)
        if not np.isfinite(log_likelihood(data, theta, self.link)):
            theta[:cuts] = 0.0  # offsets are in order by themselves
        share = np.r_[np.zeros(cuts), np.ones(X.shape[1]), np.full((cuts - 1) * len(self.free), FREE_PENALTY)]
        found = []
        for penalty in penalties:
            theta = maximise(data, penalty * share, self.link, theta)
            information = derivatives(data, theta, self.link)[1] * scale + np.diag(penalty * share * scale)
            found.append(FittedOrdered(self.link, levels, theta, self.free, X.shape[1], penalty, information))
        return found


def design(X: Floats, cuts: int, free: Sequence[int] = ()) -> Floats:
    """Design (n, J, J + p + (J - 1) * free): a cut's own constant, common effects, differences from the first cut."""
    n, p = X.shape
    z = np.zeros((n, cuts, cuts + p + (cuts - 1) * len(free)))
    for j in range(cuts):
        z[:, j, j] = 1.0
        z[:, j, cuts : cuts + p] = X
        if j:
            start = cuts + p + (j - 1) * len(free)
            z[:, j, start : start + len(free)] = X[:, list(free)]
    return z


def _first_cuts(data: Ordered, link: Link) -> Floats:
    """Cut points without effects (held in order when offsets differ, by starting from their mean)."""
    share = np.bincount(data.y, data.weight, data.cuts + 1)
    share = np.maximum(share / share.sum(), 1e-6)
    mean = np.average(data.offset, axis=0, weights=data.weight)
    if link == "adjacent":
        return np.log(share[1:] / share[:-1]) - mean
    above = np.clip(1.0 - np.cumsum(share)[:-1], 1e-6, 1 - 1e-6)
    return np.log(above / (1.0 - above)) - mean


@dataclass(frozen=True)
class FittedOrdered:
    """A fitted model.

    Attributes
    ----------
    levels
        Categories that occurred, rising.
    theta
        Cut points, common effects, differences from the first cut.
    information
        Penalised information of ``theta``, on the sum of the (weighted) log likelihood.
    """

    link: Link
    levels: NDArray[np.int64]
    theta: Floats
    free: tuple[int, ...]
    columns: int
    penalty: float
    information: Floats

    @property
    def cuts(self) -> Floats:
        """Cut points: log odds without effects, shape (J,)."""
        return self.theta[: len(self.levels) - 1]

    @property
    def coefficients(self) -> Floats:
        """Common effects (with free columns: those at the first cut), shape (p,)."""
        start = len(self.levels) - 1
        return self.theta[start : start + self.columns]

    def by_cut(self) -> Floats:
        """Effects at each cut, shape (J, p)."""
        cuts = len(self.levels) - 1
        effects = np.tile(self.coefficients, (cuts, 1))
        if self.free:
            more = self.theta[cuts + self.columns :].reshape(cuts - 1, len(self.free))
            effects[1:, list(self.free)] += more
        return effects

    def predictor(self, X: Floats, offset: Floats | float = 0.0) -> Floats:
        """Linear predictors, shape (n, J)."""
        return offset + self.cuts + X @ self.by_cut().T

    def predict(self, X: Floats, offset: Floats | float = 0.0) -> Floats:
        """Probability of each of ``levels``, shape (n, J + 1)."""
        return probabilities(self.predictor(X, offset), self.link)

    def standard_errors(self) -> Floats:
        """Of the common effects, from the information (no allowance for repeated rows of a patient), shape (p,)."""
        start = len(self.levels) - 1
        covariance = np.linalg.inv(self.information)
        return np.sqrt(np.diag(covariance))[start : start + self.columns]
