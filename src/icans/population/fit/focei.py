"""Maximum (penalised) likelihood by first-order conditional estimation with interaction, and by Laplace.

``fit_focei`` and ``fit_laplace`` move the packed vector of population parameters with exact gradients
(:mod:`~icans.population.fit.focei_objective`); every subject's mode is found anew at each step, from where the implicit
function theorem expects it. FO and FOCE without interaction are there to compare with other programs
(:mod:`~icans.population.fit.first_order`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.population.fit.advice import COLLAPSED, no_start, refuse_start, what_to_do
from icans.population.fit.ascend import Descent, Point, descend
from icans.population.fit.first_order import evaluate_first_order
from icans.population.fit.focei_objective import Accuracy, Evaluation, accuracy_for, evaluate
from icans.population.fit.priors import has_priors, log_prior
from icans.population.fit.result import Fit, RandomEffects
from icans.population.fit.sandwich import standard_errors
from icans.population.fit.scoring import expected_information
from icans.population.nlme.likelihood import Bound, bind
from icans.population.nlme.model import NlmeModel
from icans.population.nlme.population import Packing, Population, packing, start
from icans.population.nlme.records import Records

Array = npt.NDArray[np.float64]

METHODS = ("focei", "laplace", "foce", "fo")
COVARIANCES = ("sandwich", "R", "S", "none")


@dataclass(frozen=True)
class FoceiSettings:
    """How to fit.

    ``method``: ``"focei"``, ``"laplace"`` (exact Hessian; for categorical data and few observations), ``"foce"`` (no
    interaction), ``"fo"``. ``tolerance``: fall of the objective still promised at which the fit has converged.
    ``covariance``: ``"sandwich"`` (R^-1 S R^-1, NONMEM's default), ``"R"``, ``"S"``, ``"none"``. ``explore``: draws
    of random effects tried as further starts of every subject's mode at the first evaluation. ``accuracy``: None
    chooses by the structural model.
    """

    method: str = "focei"
    iterations: int = 300
    tolerance: float = 1e-6
    covariance: str = "sandwich"
    explore: int = 0
    seed: int = 0
    accuracy: Accuracy | None = None


@dataclass(frozen=True)
class Objective:
    """The penalised objective as a function of the packed vector: -2 log-likelihood - 2 log prior."""

    bound: Bound
    pack: Packing
    accuracy: Accuracy
    method: str = "focei"
    explore: int = 0
    seed: int = 0

    @cached_property
    def penalised(self) -> bool:
        """Whether priors enter the objective."""
        return has_priors(self.bound.model)

    def evaluate(self, vector: Array, near: Evaluation | None = None, *, gradient: bool = True) -> Evaluation:
        """The objective of every subject; without a likelihood where the vector has no population."""
        population = self.pack.unpack(vector)
        explore = self.explore if near is None else 0
        if self.method in ("foce", "fo"):
            return evaluate_first_order(self.bound, population, self.accuracy, conditional=self.method == "foce",
                                        gradient=gradient, near=near)  # fmt: skip
        return evaluate(self.bound, population, self.accuracy, laplace=self.method == "laplace", gradient=gradient,
                        near=near, explore=explore, seed=self.seed)  # fmt: skip

    def point(self, vector: Array, before: Point[Evaluation] | None = None) -> Point[Evaluation]:
        """Value and gradient by the vector."""
        try:
            got = self.evaluate(vector, None if before is None else before.extra)
        except np.linalg.LinAlgError:
            assert before is not None
            return Point(vector, np.inf, np.full(len(vector), np.nan), before.extra)
        prior = log_prior(self.bound.model, got.population) if self.penalised else None
        value = got.total - (2.0 * prior.logp if prior else 0.0)
        if not np.isfinite(value) or got.slopes is None:
            return Point(vector, np.inf, np.full(len(vector), np.nan), got)
        gradient = self.pack.gradient(vector, got.slopes.total(self.bound))
        if prior is not None:
            gradient -= 2.0 * self.pack.gradient(vector, prior.by)
        return Point(vector, value, gradient, got)

    def value(self, vector: Array, before: Evaluation | None = None) -> float:
        """The value alone."""
        got = self.evaluate(vector, before, gradient=False)
        return got.total - (2.0 * log_prior(self.bound.model, got.population).logp if self.penalised else 0.0)

    def subject_gradients(self, point: Point[Evaluation]) -> Array:
        """Derivatives of every subject's -2 log-likelihood by the vector, (N, length)."""
        slopes = point.extra.slopes
        assert slopes is not None
        return np.stack([self.pack.gradient(point.x, by) for by in slopes.of_subjects(self.bound)])


def fit_focei(
    model: NlmeModel, records: Records, *, settings: FoceiSettings | None = None, begin: Population | None = None,
    watch: Callable[[int, float], None] | None = None,
) -> Fit:  # fmt: skip
    """A population model fitted by FOCEI (or what ``settings.method`` says).

    Parameters
    ----------
    begin
        Where to begin; the declared starts if None.
    watch
        Called with the iteration and the objective.

    Raises
    ------
    ModelError
        Records that the model cannot take; a start without a likelihood (which subjects, which rows, what to do);
        unknown settings; FO or FOCE with data that only FOCEI and Laplace can take.
    """
    chosen = settings or FoceiSettings()
    _check(chosen)
    bound = bind(model, records)
    pack = packing(model, begin)
    accuracy = chosen.accuracy or accuracy_for(bound)
    objective = Objective(bound, pack, accuracy, chosen.method, chosen.explore, chosen.seed)
    begin_vector = pack.pack(begin or start(model))
    refuse_start(bound, pack.unpack(begin_vector))
    first = objective.point(begin_vector)
    if not np.isfinite(first.value):
        raise ModelError(no_start(bound, first.extra))
    done = search(objective, first, chosen, watch)
    done = escaped(objective, done, objective.pack.unpack(begin_vector), chosen, watch)
    return finished(objective, done, chosen)


def fit_laplace(
    model: NlmeModel, records: Records, *, settings: FoceiSettings | None = None, begin: Population | None = None
) -> Fit:  # fmt: skip
    """:func:`fit_focei` with the exact Hessian: Laplace's approximation."""
    return fit_focei(model, records, settings=replace(settings or FoceiSettings(), method="laplace"), begin=begin)


def search(
    objective: Objective, first: Point[Evaluation], chosen: FoceiSettings,
    watch: Callable[[int, float], None] | None = None,
) -> Descent[Evaluation]:  # fmt: skip
    """The minimum from a first point; the first metric is the expected information there."""
    metric = expected_information(objective, first)
    seen = None if watch is None else (lambda i, p: watch(i, p.value))
    return descend(objective.point, first, metric, tolerance=chosen.tolerance, iterations=chosen.iterations, watch=seen)


def escaped(
    objective: Objective, done: Descent[Evaluation], begin: Population, chosen: FoceiSettings,
    watch: Callable[[int, float], None] | None = None,
) -> Descent[Evaluation]:  # fmt: skip
    """The search again with collapsed SDs set back to their starts; the lower of both ends.

    A start with too large an error can drive a variance to 0 on the way, from where no gradient leads back.
    """
    here = done.point.extra.population
    omega, one = _revived(here.omega, begin.omega)
    gamma, two = _revived(here.gamma, begin.gamma)
    if not (one or two):
        return done
    vector = objective.pack.pack(replace(here, omega=omega, gamma=gamma))
    first = objective.point(vector, None)
    if not np.isfinite(first.value):
        return done
    other = search(objective, first, chosen, watch)
    return other if other.point.value < done.point.value - 1e-3 else done


def _revived(matrix: Array, begin: Array) -> tuple[Array, bool]:
    """A covariance whose collapsed variances are those of the start again, uncorrelated; and whether there were any."""
    gone = np.sqrt(np.diag(matrix)) < np.minimum(COLLAPSED, 0.1 * np.sqrt(np.diag(begin)))
    out = matrix.copy()
    out[gone, :], out[:, gone] = 0.0, 0.0
    out[gone, gone] = np.diag(begin)[gone]
    return out, bool(gone.any())


def finished(objective: Objective, done: Descent[Evaluation], chosen: FoceiSettings) -> Fit:
    """A fit from where the search ended, with standard errors and advice."""
    bound, got = objective.bound, done.point.extra
    errors = standard_errors(objective, done.point) if chosen.covariance != "none" else None
    covariance = None if errors is None else errors.pick(chosen.covariance)
    messages = what_to_do(objective, done, errors, chosen)
    course = np.array(done.course)
    history = {"objective": course[:, 0], "promised": course[:, 1]} if len(course) else {}
    names = {"focei": "FOCEI", "laplace": "Laplace", "foce": "FOCE", "fo": "FO"}
    notes = {**asdict(chosen), "accuracy": asdict(objective.accuracy), "evaluations": done.evaluations}
    return Fit(
        bound.model, names[chosen.method], got.population, -0.5 * got.total, chosen.method, bound.records.ids,
        int(bound.n_rows.sum()), effects_of(got), covariance, chosen.covariance if covariance is not None else "",
        converged=done.why == "converged", messages=tuple(messages), history=history, settings=_plain(notes),
        data_digest=bound.records.digest(),
    )  # fmt: skip


def effects_of(got: Evaluation) -> RandomEffects:
    """Random effects of the likeliest class of each subject."""
    best = np.argmax(got.weights, axis=1)
    at = np.arange(len(best))
    mode = np.stack([m.mode for m in got.modes])[best, at]
    precision = np.stack([m.precision for m in got.modes])[best, at]
    cov = np.linalg.inv(precision) if precision.shape[1] else precision
    failed = {name: why for m in got.modes for name, why in m.failed.items()}
    return RandomEffects(mode, np.asarray(cov), "mode", failed)


def objective_of(
    model: NlmeModel, records: Records, *, method: str = "focei", population: Population | None = None,
    accuracy: Accuracy | None = None,
) -> Objective:  # fmt: skip
    """The objective itself, for profiles, resampling and checks; ``population`` gives what is fixed its values."""
    bound = bind(model, records)
    return Objective(bound, packing(model, population), accuracy or accuracy_for(bound), method)


def _check(chosen: FoceiSettings) -> None:
    problems = []
    for name, value, known in (("method", chosen.method, METHODS), ("covariance", chosen.covariance, COVARIANCES)):
        if value not in known:
            problems.append(Problem("settings", None, name, value, f"one of {', '.join(known)}", "Choose one."))
    if problems:
        raise ModelError(problems)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if v is not None}
