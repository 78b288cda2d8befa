"""The closure: what a region's tissue makes, as a fitted function of plasma and barrier, with its uncertainty.

The form is a saturating response of the drive ``x = (C/c0)^n + (b L)^m``, C the excess of IL-6 in plasma (the other
cytokines and CAR T cells go with it in the courses that it was fitted to), L the loss of the barrier:
``production = top x / (1 + x)``. Uncertainty comes from refitting to runs drawn again with replacement, error from
levels of plasma left out of the fit, the lowest and the highest among them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, NotEstimableError
from icans.core.random import stream
from icans.tissue.field.grid import Array, problem

#: Names of the closure's parameters, in the order of :attr:`Closure.values`.
PARAMETERS = ("top", "c0", "n", "b", "m")
#: Bounds of the fit: pg/mL/h, pg/mL and numbers; a power below 1 would have no slope at rest.
LOW, HIGH = np.array([1.0, 0.5, 1.0, 0.01, 1.0]), np.array([1e5, 1e5, 6.0, 100.0, 6.0])


@dataclass(frozen=True)
class Closure:
    """``values``: :data:`PARAMETERS`; ``draws``, shape (refits, 5): their uncertainty.

    ``fit``: root mean square error of the fit as a share of ``top``; ``error``: the same where the level of plasma was
    left out of it; ``noise``: the same between replicates of a run; ``levels``: those of plasma that were fitted
    (lowest, highest).
    """

    values: Array
    draws: Array
    fit: float
    error: float
    noise: float
    levels: tuple[float, float]

    def production(self, plasma: npt.ArrayLike, loss: npt.ArrayLike) -> Array:
        """Production, pg/mL/h, for IL-6 in plasma above health (pg/mL) and loss of the barrier (0 to 1)."""
        return response(self.values, np.asarray(plasma, float), np.asarray(loss, float))

    def interval(self, plasma: npt.ArrayLike, loss: npt.ArrayLike, level: float = 0.9) -> tuple[Array, Array]:
        """Where the production lies for a share ``level`` of the refits."""
        made = np.array([response(row, np.asarray(plasma, float), np.asarray(loss, float)) for row in self.draws])
        low, high = np.quantile(made, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return low, high


def response(values: Array, plasma: Array, loss: Array) -> Array:
    """The closure's form."""
    top, c0, n, b, m = values
    x = (np.maximum(plasma, 0.0) / c0) ** n + (b * np.maximum(loss, 0.0)) ** m
    return np.asarray(top * x / (1 + x))


def fit_closure(
    plasma: npt.ArrayLike, loss: npt.ArrayLike, production: npt.ArrayLike, *, seed: int, refits: int = 100
) -> Closure:
    """Fit the closure to runs.

    Parameters
    ----------
    plasma, loss, production
        Shape (runs,): excess of IL-6 in plasma, loss of the barrier, production of IL-6 once it has settled.
    seed
        Of the refits.

    Raises
    ------
    ModelError
        Arrays of different length, negative or not finite values.
    NotEstimableError
        Fewer than three levels of plasma or of loss, or nothing was made in any run.
    """
    c, l, p = (np.atleast_1d(np.asarray(x, float)) for x in (plasma, loss, production))
    if not c.shape == l.shape == p.shape:
        raise ModelError([problem("runs", (c.shape, l.shape, p.shape), "one value per run", "Mend the arrays.")])
    if not (np.isfinite(c + l + p).all() and min(c.min(), l.min(), p.min()) >= 0):
        raise ModelError([problem("runs", None, "finite numbers >= 0", "Look for NaN and negative values.")])
    levels = np.unique(c)
    if min(levels.size, np.unique(l).size) < 3 or p.max() == 0:
        raise NotEstimableError("a closure needs three levels of plasma, three of barrier loss and some production")
    values = _fit(c, l, p, None)
    rng = stream(seed, "closure")
    draws = []
    for _ in range(refits):
        chosen = rng.integers(0, c.size, c.size)
        draws.append(_fit(c[chosen], l[chosen], p[chosen], values))
    apart = [p[c == level] - response(_fit(c[c != level], l[c != level], p[c != level], values), c[c == level],
                                      l[c == level]) for level in levels]  # fmt: skip
    error = float(np.sqrt(np.mean(np.concatenate(apart) ** 2)) / values[0])
    _, group = np.unique(np.stack([c, l]), axis=1, return_inverse=True)
    group = np.ravel(group)
    means = np.bincount(group, p) / np.bincount(group)
    spare = max(1, p.size - means.size)
    noise = float(np.sqrt(np.sum((p - means[group]) ** 2) / spare) / values[0])
    fit = float(np.sqrt(np.mean((response(values, c, l) - p) ** 2)) / values[0])
    return Closure(values, np.array(draws), fit, error, noise, (float(levels[0]), float(levels[-1])))


def _fit(c: Array, l: Array, p: Array, start: Array | None) -> Array:
    """Least squares from the best of several starts, in the logarithm of what is a scale."""
    from scipy.optimize import least_squares

    size = max(float(p.max()), LOW[0])
    middle = float(np.median(c[c > 0])) if (c > 0).any() else 1.0
    starts = [] if start is None else [start]
    if start is None:
        shapes = [(f, n, b, m) for f in (0.5, 3.0) for n in (1.2, 2.5) for b in (0.3, 2.0) for m in (1.2, 2.5)]
        starts = [np.array([size, middle * f, n, b, m]) for f, n, b, m in shapes]

    def apart(x: Array) -> Array:
        return np.asarray((response(np.exp(x), c, l) - p) / size)

    bounds = (np.log(LOW), np.log(HIGH))
    found = [least_squares(apart, np.clip(np.log(s), *bounds), bounds=bounds) for s in starts]
    return np.asarray(np.exp(min(found, key=lambda f: float(f.cost)).x))
