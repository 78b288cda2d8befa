"""What if, from a population fit: the same draws of the individual posterior under two plans of doses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.mechanism.doses import Dose
from icans.population.fit.result import Fit
from icans.population.nlme.records import Records
from icans.population.posterior.courses import Courses, forecast_courses
from icans.population.posterior.value import Posterior, weighted_quantiles

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FittedPair:
    """Courses with and without; ``effective``: effective number of draws of each patient, shape (n,)."""

    without: Courses
    with_: Courses
    effective: Array

    @property
    def difference(self) -> Array:
        """With less without, draw by draw, shape (n, S, T, K)."""
        return np.asarray(self.with_.values - self.without.values)

    def table(self, levels: Sequence[float] = (0.05, 0.95)) -> pd.DataFrame:
        """A row a patient, quantity and time: mean without, with, difference, its interval, effective draws."""
        n, size, t, k = self.difference.shape
        flat = weighted_quantiles(self.difference.reshape(n, size, t * k), self.without.weights, levels)
        band = np.moveaxis(flat.reshape(n, len(levels), t, k), 3, 2).reshape(n, len(levels), k * t)

        def mean(values: Array) -> Array:
            return np.moveaxis(np.einsum("ns,nstk->ntk", self.without.weights, values), 2, 1).ravel()

        made = pd.DataFrame({
            "id": np.repeat(self.without.who, k * t), "name": np.tile(np.repeat(self.without.names, t), n),
            "time_h": np.tile(self.without.time_h, n * k), "without": mean(self.without.values),
            "with": mean(self.with_.values), "difference": mean(self.difference),
        })  # fmt: skip
        for j, level in enumerate(levels):
            made[f"q{100 * level:02.0f}"] = band[:, j].ravel()
        return made.assign(draws=np.repeat(self.effective, k * t))


def what_if_fitted(
    fit: Fit, posterior: Posterior, records: Records, time_h: Sequence[float] | Array, given: Sequence[Dose], *,
    seed: int, otherwise: Sequence[Dose] = (), names: Sequence[str] | None = None,
) -> FittedPair:  # fmt: skip
    """The patients of a posterior with doses ``given`` after the landmark, and with ``otherwise`` in their place.

    Parameters
    ----------
    names
        Observables or outputs of the structural model; all observables if None.

    Raises
    ------
    ModelError
        Doses before the landmark, names or drugs that the fit's model does not have.
    """

    def under(doses: Sequence[Dose]) -> Courses:
        plans: Mapping[str, Sequence[Dose]] = dict.fromkeys(posterior.who, tuple(doses))
        return forecast_courses(fit, posterior, records, time_h, seed=seed, names=names, plans=plans, residual=False)

    return FittedPair(under(otherwise), under(given), posterior.effective)
