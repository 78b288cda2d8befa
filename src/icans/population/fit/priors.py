"""Log densities of declared priors of population parameters, with derivatives: the penalty of penalised estimation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icans.population.nlme.model import NlmeModel
from icans.population.nlme.observed import Observation
from icans.population.nlme.population import Population, error_layout
from icans.population.nlme.terms import LOG_2PI

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PriorTerm:
    """Log density of all priors, and its derivatives by natural values (a :class:`Population` of slopes)."""

    logp: float
    by: Population


def log_prior(model: NlmeModel, population: Population) -> PriorTerm:
    """Priors at a population: typical values and effects (normal), SDs (half-normal), batch factors (normal).

    The density is of the declared quantities themselves (typical value on its scale, SD, ln factor): no term for the
    change to the packed vector, so that the maximum is the penalised likelihood's, whatever the packing.
    """
    by = slopes_like(population)
    logp = 0.0
    for p, q in enumerate(model.parameters):
        if q.prior is not None and not q.fixed:
            logp += _normal(population.typical[p], q.prior.mean, q.prior.sd, by.typical, p)
    for j, e in enumerate(model.effects):
        if e.prior is not None and not e.fixed:
            logp += _normal(population.effects[j], e.prior.mean, e.prior.sd, by.effects, j)
    for order, matrix, slope in (
        (model.varying, population.omega, by.omega), (model.occasional, population.gamma, by.gamma),
    ):  # fmt: skip
        for place, p in enumerate(order):
            scale = model.parameters[p].iiv_prior
            if scale is not None and not model.parameters[p].iiv_fixed:
                variance = float(matrix[place, place])
                logp += float(np.log(2.0)) - 0.5 * LOG_2PI - float(np.log(scale)) - 0.5 * variance / scale**2
                slope[place, place] -= 0.5 / scale**2
    for j, own in enumerate(error_layout(model.observed)):
        what = model.observed[own.observed]
        if own.field == "batch" and isinstance(what, Observation) and not own.fixed:
            logp += _normal(population.errors[j], 0.0, what.batch_sd, by.errors, j)
    return PriorTerm(logp, by)


def has_priors(model: NlmeModel) -> bool:
    """Whether anything is penalised."""
    return (
        any(q.prior is not None or q.iiv_prior is not None for q in model.parameters)
        or any(e.prior is not None for e in model.effects)
        or any(isinstance(o, Observation) and o.batches for o in model.observed)
    )


def slopes_like(population: Population) -> Population:
    """A population of zeros, to gather derivatives in."""
    return Population(**{n: np.zeros_like(np.asarray(getattr(population, n), dtype=np.float64)) for n in PARTS})


PARTS = ("typical", "effects", "omega", "gamma", "errors", "shares", "shifts")


def _normal(x: float, mean: float, sd: float, slope: Array, place: int) -> float:
    z = (float(x) - mean) / sd
    slope[place] -= z / sd
    return -0.5 * z * z - float(np.log(sd)) - 0.5 * LOG_2PI
