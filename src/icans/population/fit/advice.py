"""What a first-order fit noticed and what to do next; what is wrong with a start that has no likelihood."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.population.fit.focei_objective import Evaluation
from icans.population.fit.focei_rows import make_frame, predict, row_terms
from icans.population.fit.priors import has_priors
from icans.population.nlme.likelihood import Bound, means, phi_of
from icans.population.nlme.observed import Observation
from icans.population.nlme.population import Population

if TYPE_CHECKING:
    from icans.population.fit.ascend import Descent
    from icans.population.fit.focei import FoceiSettings, Objective
    from icans.population.fit.sandwich import StandardErrors

Array = npt.NDArray[np.float64]

#: SDs of random effects below which they count as collapsed; a correlation this strong as perfect; condition numbers.
COLLAPSED, PERFECT, ILL = 1e-2, 0.99, 1e3
#: A part of the variance of random effects that the data leave as it was: shrinkage (1 - SD of modes / omega).
SHRUNK = 0.4


def refuse_start(bound: Bound, population: Population) -> None:
    """Raise if population values are not numbers, or variances not positive."""
    problems = []
    for name, matrix in (("omega", population.omega), ("gamma", population.gamma)):
        if len(matrix) and not (np.isfinite(matrix).all() and (np.linalg.eigvalsh(matrix) > 0.0).all()):
            problems.append(Problem("start", None, name, "not positive definite", "a covariance", "Give SDs above 0."))
    for p, value in zip(bound.model.names, population.typical, strict=True):
        if not np.isfinite(value):
            problems.append(Problem("start", None, p, str(value), "a number", "Give a value inside its scale."))
    if problems:
        raise ModelError(problems)


def no_start(bound: Bound, got: Evaluation) -> list[Problem]:
    """Which subjects, and which of their rows, have no likelihood at the start, and what to do."""
    problems: list[Problem] = []
    for i in np.flatnonzero(~np.isfinite(got.objective)):
        problems += explain_subject(bound, got.population, int(i))
    if not problems:
        expected = "a likelihood of every subject"
        problems.append(Problem("start", None, None, "minus infinity", expected, "Move the starts; check priors."))
    return problems


def explain_subject(bound: Bound, population: Population, i: int) -> list[Problem]:
    """Why one subject has no likelihood for typical effects: its rows, with prediction and remedy."""
    who = np.array([i])
    chosen = bound.rows.select(who)
    phi = phi_of(bound, means(bound, population)[who], np.zeros((1, bound.size)))
    with np.errstate(all="ignore"):
        at = predict(bound, phi, chosen)
        logp = row_terms(make_frame(bound, chosen), population, at.u).logp[0]
    name = f"subject {bound.records.ids[i]}"
    rows = np.flatnonzero((bound.rows.observed[i] >= 0) & ~np.isfinite(logp))
    if len(rows) == 0:
        expected = "a likelihood at some random effects"
        return [Problem(name, None, None, "none found", expected, "Check units, times and doses; move the starts.")]
    problems = []
    for r in rows[:5]:
        k, source = int(bound.rows.observed[i, r]), int(bound.rows.source[i, r])
        u = float(at.u[0, r])
        found = f"prediction {u:.4g} for the value {float(bound.rows.value[i, r]):.4g}"
        problems.append(Problem(name, source + 1 if source >= 0 else None, bound.model.observed[k].name, found,
                                "a finite log-likelihood", _remedy(bound, k, u)))  # fmt: skip
    return problems


def _remedy(bound: Bound, k: int, u: float) -> str:
    what = bound.model.observed[k]
    if not np.isfinite(u):
        return "The model cannot be solved with the starts: move them, or loosen the solver."
    if isinstance(what, Observation) and u <= 0.0 and what.error in ("lognormal", "logstudent", "proportional"):
        return f"The {what.error} error has no likelihood at a prediction of 0: give a floor or a combined error."
    return "The value is impossible there: move the starts, or use a combined or Student-t error."


def what_to_do(
    objective: Objective, done: Descent[Evaluation], errors: StandardErrors | None, chosen: FoceiSettings
) -> list[str]:  # fmt: skip
    """Everything noticed, each with what to do next."""
    bound, got = objective.bound, done.point.extra
    out = _arrival(objective, done)
    out += _variances(bound, got.population)
    out += _certainty(errors, chosen)
    for name, why in {n: w for m in got.modes for n, w in m.failed.items()}.items():
        out.append(f"Subject {name}: {why}.")
    if got.blunt.any():
        names = ", ".join(bound.records.ids[i] for i in np.flatnonzero(got.blunt)[:6])
        out.append(f"The mode of {int(got.blunt.sum())} subjects is no proper peak ({names}): their curvature was "
                   "raised for the approximation. Compare with importance sampling or SAEM.")  # fmt: skip
    out += _shrinkage(bound, got)
    if has_priors(bound.model):
        out.append("Priors entered the estimates (penalised likelihood); the log-likelihood reported is without them.")
    return out


def _arrival(objective: Objective, done: Descent[Evaluation]) -> list[str]:
    if done.why == "converged":
        return []
    size = np.abs(done.point.gradient)
    steepest = ", ".join(objective.pack.names[int(j)] for j in np.argsort(-size)[:3])
    seen = f"largest gradient {size.max():.3g} ({steepest}), {done.promised:.3g} still promised"
    if done.why == "iterations":
        return [f"Not converged in {done.iterations} iterations ({seen}). Go on from these estimates (begin=), or give "
                "more iterations."]  # fmt: skip
    if done.promised < 1e-2:
        return [f"Converged to the resolution of the objective ({seen}): the solver's error hides smaller changes. "
                "Tighten the solver's tolerance if more digits matter."]  # fmt: skip
    return [f"Stopped: no lower objective along the direction of descent ({seen}). Tighten the solver, start from "
            "other values (multi_start), or look for parameters that the data do not determine."]  # fmt: skip


def _variances(bound: Bound, population: Population) -> list[str]:
    out = []
    for word, order, matrix, key in (
        ("between patients", bound.model.varying, population.omega, "iiv"),
        ("between occasions", bound.model.occasional, population.gamma, "iov"),
    ):
        sd = np.sqrt(np.diag(matrix)) if len(matrix) else np.zeros(0)
        for j, p in enumerate(order):
            name = bound.model.parameters[p].name
            if sd[j] < COLLAPSED:
                out.append(f"The SD of {name} {word} collapsed to {sd[j]:.2g}: the data show no variation. Set {key} "
                           f"of {name} to 0 and fit again.")  # fmt: skip
            for i in range(j):
                r = matrix[i, j] / (sd[i] * sd[j])
                if abs(r) > PERFECT:
                    other = bound.model.parameters[order[i]].name
                    out.append(f"The correlation of {other} and {name} {word} is {r:.3f}: take them out of one block, "
                               "or let one vary in proportion to the other.")  # fmt: skip
    return out


def _certainty(errors: StandardErrors | None, chosen: FoceiSettings) -> list[str]:
    if errors is None:
        return []
    held = [
        f"{name} has collapsed: nothing depends on it any more, and the standard errors of the others hold it fixed. "
        "Leave it out (an error model without it, or an SD of 0)."
        for name in errors.held
    ]
    return held + _hessian(errors, chosen)


def _hessian(errors: StandardErrors, chosen: FoceiSettings) -> list[str]:
    if not errors.positive:
        return [f"No standard errors: the Hessian is not positive definite along {', '.join(errors.weakest)}. Fix or "
                "leave out one of these, give a prior, or take bootstrap or SIR intervals."]  # fmt: skip
    if errors.condition > ILL:
        return [f"Condition number {errors.condition:.3g}: {', '.join(errors.weakest)} are hardly told apart. Look at "
                "their profiles; fix one, or give a prior."]  # fmt: skip
    if chosen.covariance != "R" and len(errors.scores) < 3 * len(errors.r):
        return [f"{len(errors.scores)} subjects for {len(errors.r)} parameters: sandwich standard errors are "
                "unreliable with so few; compare with covariance='R' or a bootstrap."]  # fmt: skip
    return []


def _shrinkage(bound: Bound, got: Evaluation) -> list[str]:
    out = []
    mode = got.modes[int(np.argmax(got.population.shares))].mode
    for j, p in enumerate(bound.model.varying):
        sd = float(np.sqrt(got.population.omega[j, j]))
        shrunk = 1.0 - float(np.std(mode[:, j])) / sd if sd > COLLAPSED else 0.0
        if shrunk > SHRUNK:
            name = bound.model.parameters[p].name
            out.append(f"Shrinkage of {name}: {100 * shrunk:.0f} %. Individual values say little of it; do not plot "
                       "them against covariates.")  # fmt: skip
    return out
