"""Priors of full Bayes: a few distributions with exact slopes, and which parameter has which.

A prior may stand on the natural value of a parameter or on its scale of estimation (as
:class:`~icans.population.nlme.model.Prior` does). Defaults are weakly informative, in the sense of Gelman et al. 2020
(arXiv 2011.01808); :func:`bayes_priors` states every one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from icans.core.errors import ModelError, Problem
from icans.population.nlme.model import Effect, Individual, NlmeModel
from icans.population.nlme.observed import Observation
from icans.population.nlme.population import error_layout
from icans.population.nlme.terms import HALF_LOG_2PI

OUTSIDE = (-np.inf, 0.0)


class Distribution(Protocol):
    """A distribution of one number."""

    def log_density(self, x: float) -> tuple[float, float]:
        """Log density at x and its derivative; minus infinity and 0 outside the support."""
        ...


@dataclass(frozen=True, slots=True)
class Normal:
    """N(mean, sd^2)."""

    mean: float = 0.0
    sd: float = 1.0

    def log_density(self, x: float) -> tuple[float, float]:
        """See :class:`Distribution`."""
        z = (x - self.mean) / self.sd
        return -0.5 * z * z - float(np.log(self.sd)) - HALF_LOG_2PI, -z / self.sd


@dataclass(frozen=True, slots=True)
class HalfNormal:
    """|N(0, scale^2)|."""

    scale: float = 1.0

    def log_density(self, x: float) -> tuple[float, float]:
        """See :class:`Distribution`."""
        if x < 0.0:
            return OUTSIDE
        z = x / self.scale
        return -0.5 * z * z - float(np.log(self.scale)) - HALF_LOG_2PI + float(np.log(2.0)), -z / self.scale


@dataclass(frozen=True, slots=True)
class HalfCauchy:
    """|Cauchy(0, scale)| (Gelman 2006, doi 10.1214/06-BA117A, for SDs)."""

    scale: float = 1.0

    def log_density(self, x: float) -> tuple[float, float]:
        """See :class:`Distribution`."""
        if x < 0.0:
            return OUTSIDE
        z = x / self.scale
        return float(np.log(2.0 / np.pi / self.scale) - np.log1p(z * z)), -2.0 * z / (1.0 + z * z) / self.scale


@dataclass(frozen=True, slots=True)
class LogNormal:
    """ln x ~ N(mean, sd^2)."""

    mean: float = 0.0
    sd: float = 1.0

    def log_density(self, x: float) -> tuple[float, float]:
        """See :class:`Distribution`."""
        if x <= 0.0:
            return OUTSIDE
        z = (float(np.log(x)) - self.mean) / self.sd
        logp = -0.5 * z * z - float(np.log(self.sd)) - HALF_LOG_2PI - float(np.log(x))
        return logp, (-z / self.sd - 1.0) / x


@dataclass(frozen=True, slots=True)
class Uniform:
    """Uniform between low and high."""

    low: float = 0.0
    high: float = 1.0

    def log_density(self, x: float) -> tuple[float, float]:
        """See :class:`Distribution`."""
        return (-float(np.log(self.high - self.low)), 0.0) if self.low <= x <= self.high else OUTSIDE


#: SDs of default priors: of typical values around their starts on log and logit scales; of effects of covariates and
#: shifts of classes; of cuts, slopes and memories of outcomes. Scale of half-normal SDs between patients on log and
#: logit scales and of relative errors; how much wider than declared others are; exponent of LKJ.
TYPICAL, EFFECT, OUTCOME, SPREAD, WIDE, LKJ = 2.0, 1.0, 5.0, 1.0, 2.5, 2.0


@dataclass(frozen=True)
class Priors:
    """Priors of all parameters of a model, in its order.

    ``typical``, with ``typical_natural``: whether each stands on the natural value; ``effects``; ``sd_eta`` and
    ``sd_kappa``: of SDs; ``errors``; ``shifts``: of each (class, parameter) shift, one for all. Correlations of a block
    have LKJ(``lkj``) (Lewandowski, Kurowicka, Joe 2009, doi 10.1016/j.jmva.2009.04.008), shares of classes Dirichlet
    with ones.
    """

    typical: tuple[Distribution, ...]
    typical_natural: tuple[bool, ...]
    effects: tuple[Distribution, ...]
    sd_eta: tuple[Distribution, ...]
    sd_kappa: tuple[Distribution, ...]
    errors: tuple[Distribution, ...]
    shifts: Distribution
    lkj: float = LKJ


def bayes_priors(model: NlmeModel, given: Mapping[str, Distribution] | None = None) -> Priors:
    """Priors: those ``given``, those declared, else weakly informative ones.

    * typical value: ``Individual.prior`` (on the scale), else N(start, 2^2) on log and logit scales, and N(start, (2.5
      max(|start|, declared SD, 1))^2) on others;
    * effect of a covariate: ``Effect.prior``, else N(0, 1);
    * SD between patients or occasions: half-normal with scale ``Individual.iiv_prior``, else 1 on log and logit scales
      and 2.5 times the declared SD on others;
    * ``a`` of log-normal and log-Student errors and ``b``: half-normal(1); ``a`` of others: half-normal(5 times the
      declared); ln factors of batches: N(0, ``batch_sd``^2); cuts, slopes, memories: N(declared, 5^2); dispersion:
      half-normal(5 times the declared);
    * shifts of classes: N(0, 1); shares: Dirichlet(1); correlations: LKJ(2).

    ``given``: name -> distribution of the natural value. Names: of individual parameters, ``"<covariate> on
    <parameter>"``, ``"omega <parameter>"`` and ``"gamma <parameter>"`` (SDs), ``"<observed> a"`` and so on as in the
    table of estimates.

    Raises
    ------
    ModelError
        Names that the model does not have.
    """
    left: dict[str, Distribution] = dict(given or {})
    natural = tuple(p.name in left for p in model.parameters)
    typical = tuple(left.pop(p.name, _typical(p)) for p in model.parameters)
    effects = tuple(left.pop(f"{e.covariate} on {e.parameter}", _effect(e)) for e in model.effects)
    varying = [model.parameters[i] for i in model.varying]
    occasional = [model.parameters[i] for i in model.occasional]
    sd_eta = tuple(left.pop(f"omega {p.name}", _sd(p, p.iiv)) for p in varying)
    sd_kappa = tuple(left.pop(f"gamma {p.name}", _sd(p, p.iov)) for p in occasional)
    errors = tuple(left.pop(e.name, _error(model, e.observed, e.field, e.place)) for e in error_layout(model.observed))
    if left:
        remedy = "Names are those of the table of estimates."
        raise ModelError([Problem("priors", None, n, n, "a parameter of the model", remedy) for n in left])
    return Priors(typical, natural, effects, sd_eta, sd_kappa, errors, Normal(0.0, EFFECT))


def _typical(p: Individual) -> Distribution:
    if p.prior is not None:
        return Normal(p.prior.mean, p.prior.sd)
    start = float(p.scale.forward(p.value))
    return Normal(start, TYPICAL if p.scale.kind in ("log", "logit") else WIDE * max(abs(start), p.iiv, 1.0))


def _effect(e: Effect) -> Distribution:
    return Normal(0.0, EFFECT) if e.prior is None else Normal(e.prior.mean, e.prior.sd)


def _sd(p: Individual, declared: float) -> Distribution:
    return HalfNormal(p.iiv_prior or (SPREAD if p.scale.kind in ("log", "logit") else WIDE * declared))


def _error(model: NlmeModel, k: int, field: str, place: int) -> Distribution:
    what = model.observed[k]
    if isinstance(what, Observation):
        if field == "batch":
            return Normal(0.0, what.batch_sd)
        return HalfNormal(SPREAD if field == "b" or what.error in ("lognormal", "logstudent") else 5.0 * what.a)
    if field == "dispersion":
        return HalfNormal(5.0 * float(what.dispersion or 1.0))
    return Normal(what.cuts[place] if field == "cut" else float(getattr(what, field)), OUTCOME)
