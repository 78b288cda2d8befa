"""Minimum sample size for developing and for validating a prognostic model, and a sentence on the study at hand.

Development (Riley RD et al., Stat Med 2019;38:1276, doi 10.1002/sim.7992), three criteria: expected shrinkage of at
least 0.9; optimism of Nagelkerke's R2 of at most 0.05; overall risk known to within 0.05. Anticipated Cox-Snell R2
from an anticipated C statistic: Riley RD, Van Calster B, Collins GS, Stat Med 2021;40:859, doi 10.1002/sim.8806.
Validation (Riley RD et al., Stat Med 2021;40:4230, doi 10.1002/sim.9025; BMJ 2024;384:e074821): wanted widths of the
intervals of observed/expected, calibration slope and C (standard error of C: Newcombe RG, Stat Med 2006;25:559).

A linear predictor of anticipated C is taken as normal with equal variance in patients with and without the outcome,
and perfectly calibrated. Expectations are Gauss-Hermite sums, not simulations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from scipy.optimize import brentq

from icans.core.errors import NotEstimableError
from icans.evaluate.censoring import Floats

#: Criteria of development (Riley 2019): wanted shrinkage, optimism in Nagelkerke's R2, margin of the overall risk.
SHRINKAGE = 0.9
OPTIMISM = 0.05
MARGIN = 0.05
#: Targets of validation: interval of O/E, width of the intervals of the slope and of C (this project's; the software
#: of the authors defaults to narrower slope and O/E intervals, which need more patients).
OE_INTERVAL = (0.80, 1.25)
SLOPE_WIDTH = 0.4
C_WIDTH = 0.1
#: C statistic taken where a study names none: the better single predictors of ICANS reach 0.72-0.74.
ANTICIPATED_C = 0.75
#: Nodes of the Gauss-Hermite sums; 120 give more digits than are printed.
NODES = 120
Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Required:
    """A required sample size: patients, events, events per parameter (NaN for validation), and n by criterion."""

    n: int
    events: int
    epp: float
    criteria: dict[str, int]


@dataclass(frozen=True)
class LinearPredictor:
    """A discrete distribution of a calibrated linear predictor: values, probabilities, and joint P(value, outcome)."""

    values: Floats
    probability: Floats
    with_outcome: Floats


def linear_predictor(prevalence: float, c: float) -> LinearPredictor:
    """The calibrated linear predictor of a given prevalence and C statistic (normal within each outcome)."""
    _within("prevalence", prevalence, 0.0, 1.0)
    _within("the C statistic", c, 0.5, 1.0)
    nodes, weights = hermegauss(NODES)
    weights = weights / weights.sum()
    distance = math.sqrt(2.0) * NormalDist().inv_cdf(c)
    centre = math.log(prevalence / (1 - prevalence))
    without = centre - distance**2 / 2 + distance * nodes
    values = np.r_[without, without + distance**2]
    probability = np.r_[(1 - prevalence) * weights, prevalence * weights]
    return LinearPredictor(values, probability, np.r_[np.zeros(NODES), prevalence * weights])


def cox_snell_r2(prevalence: float, c: float) -> float:
    """Cox-Snell R2 of a calibrated model of the given prevalence and C statistic."""
    lp = linear_predictor(prevalence, c)
    fitted = float(lp.with_outcome @ lp.values - lp.probability @ np.logaddexp(0.0, lp.values))
    return 1 - math.exp(-2 * (fitted - _null_likelihood(prevalence)))


def max_cox_snell_r2(prevalence: float) -> float:
    """The largest Cox-Snell R2 that a binary outcome of this prevalence allows."""
    return 1 - math.exp(2 * _null_likelihood(prevalence))


def development(
    prevalence: float,
    parameters: int,
    *,
    c: float | None = None,
    r2: float | None = None,
    shrinkage: float = SHRINKAGE,
    optimism: float = OPTIMISM,
    margin: float = MARGIN,
) -> Required:
    """Patients needed to develop a model of a binary outcome.

    Parameters
    ----------
    prevalence
        Anticipated share with the outcome.
    parameters
        Candidate parameters, *all* that are looked at: spline terms, interactions, selected-out ones.
    c, r2
        Anticipated C statistic or Cox-Snell R2 (one of them).
    shrinkage, optimism, margin
        The three criteria.
    """
    value = _anticipated_r2(prevalence, c, r2)
    ceiling = max_cox_snell_r2(prevalence)
    criteria = {
        "shrinkage": _for_shrinkage(parameters, value, shrinkage),
        "optimism": _for_shrinkage(parameters, value, value / (value + optimism * ceiling)),
        "overall risk": math.ceil((Z / margin) ** 2 * prevalence * (1 - prevalence)),
    }
    n = max(criteria.values())
    return Required(n, math.ceil(n * prevalence), n * prevalence / parameters, criteria)


def development_survival(
    rate: float,
    timepoint: float,
    mean_follow_up: float,
    parameters: int,
    *,
    r2: float,
    shrinkage: float = SHRINKAGE,
    optimism: float = OPTIMISM,
    margin: float = MARGIN,
) -> Required:
    """Patients needed to develop a time-to-event model.

    Parameters
    ----------
    rate
        Events per patient and unit of time.
    timepoint
        Time at which the overall risk shall be known to within ``margin`` (exponential survival).
    mean_follow_up
        Mean follow-up, same unit.
    parameters, r2, shrinkage, optimism, margin
        As in :func:`development`.
    """
    expected = rate * mean_follow_up
    ceiling = 1 - math.exp(2 * (expected * math.log(expected) - expected))
    if r2 >= ceiling:
        raise NotEstimableError(f"R2 of {r2:g} is not possible here; the largest is {ceiling:.3f}")
    free = math.exp(-rate * timepoint)
    reach = [rate + math.log(min(free + margin, 1.0)) / timepoint]
    if free > margin:
        reach.append(-math.log(free - margin) / timepoint - rate)
    criteria = {
        "shrinkage": _for_shrinkage(parameters, r2, shrinkage),
        "optimism": _for_shrinkage(parameters, r2, r2 / (r2 + optimism * ceiling)),
        "overall risk": math.ceil(rate * (Z / min(reach)) ** 2 / mean_follow_up),
    }
    n = max(criteria.values())
    return Required(n, math.ceil(n * expected), n * expected / parameters, criteria)


def validation(
    prevalence: float,
    c: float,
    *,
    predictor: LinearPredictor | None = None,
    oe_interval: tuple[float, float] = OE_INTERVAL,
    slope_width: float = SLOPE_WIDTH,
    c_width: float = C_WIDTH,
) -> Required:
    """Patients needed to validate a model of a binary outcome elsewhere.

    Parameters
    ----------
    prevalence, c
        Anticipated share with the outcome and C statistic at the new place.
    predictor
        Distribution of the linear predictor there; by default that of :func:`linear_predictor`.
    oe_interval, slope_width, c_width
        Wanted 95 % interval of O/E around 1 (symmetric on the log scale; its width is what counts), and wanted
        widths of the intervals of the slope and of C.
    """
    lp = predictor or linear_predictor(prevalence, c)
    criteria = {
        "observed/expected": _for_oe(prevalence, oe_interval[1] - oe_interval[0]),
        "slope": _for_slope(lp, slope_width),
        "C": _for_c(prevalence, c, c_width),
    }
    n = max(criteria.values())
    return Required(n, math.ceil(n * prevalence), math.nan, criteria)


def parameters_supported(n: int, prevalence: float, *, c: float | None = None, r2: float | None = None) -> int:
    """The most candidate parameters that ``n`` patients allow by the two criteria on overfitting (0: none)."""
    value = _anticipated_r2(prevalence, c, r2)
    optimism = value / (value + OPTIMISM * max_cox_snell_r2(prevalence))

    def needed(parameters: int) -> int:
        return max(_for_shrinkage(parameters, value, s) for s in (SHRINKAGE, optimism))

    allowed = int(n / max(1, needed(1) - 1))
    while allowed and needed(allowed) > n:
        allowed -= 1
    return allowed


def expected_shrinkage(n: int, parameters: int, r2: float) -> float:
    """Shrinkage factor to be expected after development with ``n`` patients; 0 when it is below ``r2``."""

    def gap(s: float) -> float:
        return parameters / ((s - 1) * math.log(1 - r2 / s)) - n

    low, high = r2 * (1 + 1e-9) + 1e-12, 1 - 1e-9
    return float(brentq(gap, low, high)) if gap(low) < 0 < gap(high) else 0.0


def statement(
    n: int, events: int, candidate_parameters: int, *, c: float = ANTICIPATED_C, outcome: str = "the outcome"
) -> str:
    """What the sample size of a study allows, in plain language.

    Parameters
    ----------
    n, events
        Patients, and those with the outcome.
    candidate_parameters
        All parameters that were looked at.
    c
        Anticipated C statistic of the model.
    outcome
        Name of the outcome.
    """
    if not 0 < events < n:
        return (
            f"With {events} of {n} patients having {outcome}, no prediction model of it can be developed: patients "
            "with it and patients without it are needed."
        )
    prevalence = events / n
    allowed, needed = parameters_supported(n, prevalence, c=c), development(prevalence, candidate_parameters, c=c)
    said = (
        f"{n} patients, {events} of them with {outcome} ({prevalence:.0%}). If a model is to reach a C statistic of "
        f"{c:.2f}, the criteria of Riley et al. (2019) on overfitting allow "
        + (
            f"at most {allowed} candidate parameter{'' if allowed == 1 else 's'}"
            if allowed
            else "no candidate parameter"
        )
        + f" with this many patients; {candidate_parameters} {'was' if candidate_parameters == 1 else 'were'} "
        f"considered, and all criteria together ask for {needed.n} patients with {needed.events} events"
    )
    said += _verdict(n, prevalence, candidate_parameters, allowed, needed, c)
    other = validation(prevalence, c)
    return said + f" To validate such a model elsewhere takes about {other.n} patients with {other.events} events."


def _verdict(n: int, prevalence: float, parameters: int, allowed: int, needed: Required, c: float) -> str:
    """The end of the statement: enough, too few for the parameters, too few even for the overall risk."""
    if needed.n <= n:
        return ": the sample size suffices."
    said = "."
    if parameters > allowed:
        shrink = expected_shrinkage(n, parameters, cox_snell_r2(prevalence, c))
        said += (
            f" The study is too small for them: without penalisation, effects would have to be shrunk by a factor of "
            f"about {shrink:.2f} ({SHRINKAGE:.1f} is wanted), so that forecasts would be too extreme in new patients."
            if shrink > 0
            else " The study is far too small for them: without penalisation, the model would fit noise alone."
        )
    if needed.criteria["overall risk"] > n:
        half = Z * math.sqrt(prevalence * (1 - prevalence) / n)
        said += (
            f" Even the overall risk is known only within {100 * half:.0f} percentage points "
            f"({100 * MARGIN:.0f} are wanted)."
        )
    return said


def _for_shrinkage(parameters: int, r2: float, shrinkage: float) -> int:
    if parameters < 1:
        raise ValueError(f"parameters must be at least 1; got {parameters}")
    if shrinkage <= r2:
        raise NotEstimableError(f"a shrinkage of {shrinkage:g} cannot be asked for with an R2 of {r2:g}")
    return math.ceil(parameters / ((shrinkage - 1) * math.log(1 - r2 / shrinkage)))


def _for_oe(prevalence: float, width: float) -> int:
    """Width of the interval exp(+-Z se) around 1 is 2 sinh(Z se); se of ln(O/E) is sqrt((1 - p) / (n p))."""
    error = math.asinh(width / 2) / Z
    return math.ceil((1 - prevalence) / (prevalence * error**2))


def _for_slope(lp: LinearPredictor, width: float) -> int:
    risk = 1 / (1 + np.exp(-lp.values))
    weight = risk * (1 - risk) * lp.probability
    a, ab, b = float(weight.sum()), float(weight @ lp.values), float(weight @ lp.values**2)
    return math.ceil(a / ((a * b - ab**2) * (width / (2 * Z)) ** 2))


def _for_c(prevalence: float, c: float, width: float) -> int:
    def gap(n: float) -> float:
        half = n / 2 - 1
        inside = c * (1 - c) * (1 + half * (1 - c) / (2 - c) + half * c / (1 + c))
        return 2 * Z * math.sqrt(inside / (n**2 * prevalence * (1 - prevalence))) - width

    return math.ceil(brentq(gap, 3.0, 1e9))


def _anticipated_r2(prevalence: float, c: float | None, r2: float | None) -> float:
    if (c is None) == (r2 is None):
        raise ValueError("give either the anticipated C statistic or the anticipated Cox-Snell R2")
    _within("prevalence", prevalence, 0.0, 1.0)
    value = cox_snell_r2(prevalence, c) if c is not None else float(r2)  # type: ignore[arg-type]
    if not 0 < value < max_cox_snell_r2(prevalence):
        raise NotEstimableError(
            f"R2 of {value:g} is not possible here; the largest is {max_cox_snell_r2(prevalence):.3f}"
        )
    return value


def _null_likelihood(prevalence: float) -> float:
    return prevalence * math.log(prevalence) + (1 - prevalence) * math.log(1 - prevalence)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low < value < high:
        raise ValueError(f"{name} must lie between {low:g} and {high:g}; got {value}")
