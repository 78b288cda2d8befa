"""What a user should know about a SAEM run, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from icans.population.nlme.population import Population

if TYPE_CHECKING:
    from icans.population.fit.saem_end import Conditional
    from icans.population.fit.saem_loop import Run, State

Array = npt.NDArray[np.float64]

#: An SD on a log or logit scale, or a part of the declared one elsewhere, below which a parameter does not vary.
NOTHING, PART = 0.02, 0.02
#: Part of a variance between patients that is left given their data, above which they do not show that it is there.
BLIND = 0.95
#: Acceptance below which a subject's chains hardly move; Monte Carlo error of the objective that is told.
STUCK, NOISY = 0.02, 0.5
#: Length of the summed score in units of its standard errors beyond which estimates are not at the maximum.
FAR = 0.5


def messages(
    run: Run, state: State, last: Conditional, population: Population, cov: Array | None, lost: dict[str, str], *,
    likelihood_se: float,
) -> list[str]:  # fmt: skip
    """All that is to be told, the gravest first."""
    out = [f"Subject {name} was left out: {why}." for name, why in lost.items()]
    if not state.settled:
        names = ", ".join(state.moving[:6]) or "too few iterations to tell"
        out.append(
            f"Not settled: after {state.explored} iterations of the first phase these still moved: {names}. Raise "
            "`explore`, start nearer, or fix what the data do not determine."
        )
    out += _vanishing(run, last, population) + _far(run, last, cov) + _stuck(run, last)
    if 2.0 * likelihood_se > NOISY:
        out.append(
            f"The objective has a Monte Carlo error of {2.0 * likelihood_se:.2g}: raise `importance` before models are "
            "compared by it."
        )
    return out


def _vanishing(run: Run, last: Conditional, population: Population) -> list[str]:
    model, out = run.bound.model, []
    known = np.diagonal(last.effects.covariance, axis1=1, axis2=2).mean(axis=0)[: len(model.varying)]
    blind = known > BLIND * np.diag(population.omega)
    for word, order, matrix, declared in (
        ("between patients", model.varying, population.omega, "iiv"),
        ("between occasions", model.occasional, population.gamma, "iov"),
    ):
        for j, p in enumerate(order):
            q, sd = model.parameters[p], float(np.sqrt(matrix[j, j]))
            bar = NOTHING if q.scale.kind in ("log", "logit") else PART * getattr(q, declared)
            empty = word == "between patients" and bool(blind[j])
            if (sd < bar or empty) and not q.iiv_fixed:
                out.append(
                    f"The variability of {q.name} {word} goes to zero (SD {sd:.2g}): these data do not show that it "
                    f"varies. Set its `{declared}` to 0, or give it a prior."
                )
    return out


def _far(run: Run, last: Conditional, cov: Array | None) -> list[str]:
    """Estimates whose score is not zero: with C the covariance, C times the score is how far the maximum still is."""
    if cov is None:
        return []
    from icans.population.fit.saem_end import total_score

    away = np.abs(cov @ total_score(run, last)) / np.sqrt(np.diag(cov))
    far = [f"{run.pack.names[j]} ({away[j]:.1f} SE)" for j in np.flatnonzero(away > FAR)]
    if not far:
        return []
    return [f"Some estimates seem to be away from the maximum: {', '.join(far[:6])}. Raise `explore` and `smooth`."]


def _stuck(run: Run, last: Conditional) -> list[str]:
    if not last.acceptance:
        return []
    best = np.max(np.stack(list(last.acceptance.values())), axis=0)
    names = [run.bound.records.ids[i] for i in np.flatnonzero(best < STUCK)]
    if not names:
        return []
    return [f"Chains hardly moved in {len(names)} subjects ({', '.join(names[:5])}): raise `final` and `chains`."]
