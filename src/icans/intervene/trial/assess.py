"""Beyond power: assurance, a threshold that keeps the error, and what a drifting historical control does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import beta

from icans.core.errors import NotEstimableError
from icans.core.execute import Executor
from icans.intervene.trial.bank import Bank
from icans.intervene.trial.closed import monte_carlo_interval
from icans.intervene.trial.design import TrialDesign
from icans.intervene.trial.engines import stages
from icans.intervene.trial.operate import NULL, Operating, Scenario, operate
from icans.intervene.trial.simon import characteristics

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Assurance:
    """Chance of success before the trial, averaged over what is believed of the effect.

    ``real`` and ``weight``: shares of the effect that are real and their weights; ``success``: power at each.
    """

    real: Array
    weight: Array
    success: Array
    simulations: int

    @property
    def value(self) -> float:
        """The assurance (O'Hagan, Stevens and Campbell 2005, doi 10.1002/pst.175)."""
        return float(self.weight @ self.success)

    @property
    def error(self) -> float:
        """Its Monte-Carlo standard error; too wide where scenarios share their patients."""
        return float(np.sqrt((self.weight**2 * self.success * (1 - self.success)).sum() / self.simulations))


def assurance(
    design: TrialDesign, bank: Bank | None = None, executor: Executor | None = None, simulations: int = 2000
) -> Assurance:  # fmt: skip
    """Success over the design's beliefs: the beta distribution by equal shares of its mass, and no effect at all.

    Raises
    ------
    NotEstimableError
        The design states no beliefs.
    """
    about = design.assurance
    if about is None:
        raise NotEstimableError("the design has no [assurance]: nothing is believed of the effect")
    middle = (np.arange(about.points) + 0.5) / about.points
    real = np.concatenate([[0.0], np.asarray(beta.ppf(middle, about.a, about.b), float)])
    weight = np.concatenate([[about.nothing], np.full(about.points, (1.0 - about.nothing) / about.points)])
    scenarios = [Scenario(f"{share:.0%} of the effect", float(share)) for share in real]
    found = operate(design, bank, scenarios, executor, simulations)
    return Assurance(real, weight, np.array([_success(o) for o in found]), simulations)


def _success(found: Operating) -> float:
    """Share of trials that reject something in favour of a new arm."""
    better = found.found["rejected"] & _favours(found)
    return float(better.any(axis=1).mean())


def _favours(found: Operating) -> npt.NDArray[np.bool_]:
    kind = found.design.endpoint.kind
    estimate = found.found["estimate"]
    if kind == "ordinal":
        return np.asarray(estimate > 0.5)
    return np.asarray(estimate < (1.0 if kind in ("time", "competing") else 0.0))


def power_curve(
    design: TrialDesign, bank: Bank | None = None, shares: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    executor: Executor | None = None, simulations: int = 2000,
) -> pd.DataFrame:  # fmt: skip
    """Share of trials with success against the share of the effect that is real: columns real, success, low, high."""
    scenarios = [Scenario(f"{s:.0%}", float(s)) for s in shares]
    rows = []
    for scenario, found in zip(scenarios, operate(design, bank, scenarios, executor, simulations)):
        share = found.any_rejected
        rows.append((scenario.real, share, *monte_carlo_interval(share, found.simulations),
                     float(found.found["n"].mean())))  # fmt: skip
    return pd.DataFrame(rows, columns=["real", "success", "low", "high", "patients"])


def calibrate(
    design: TrialDesign, bank: Bank | None = None, error: float = 0.05, executor: Executor | None = None,
    simulations: int = 4000, steps: int = 12,
) -> TrialDesign:  # fmt: skip
    """An adaptive design whose threshold of superiority keeps the error where nothing works.

    Bisection on common random numbers; the threshold of inferiority goes with it where there is no common control.
    """
    low, high = 0.80, 0.9999
    best = design
    for _ in range(steps):
        middle = (low + high) / 2
        change = {"superiority": middle}
        if not design.design.common_control:
            change["inferiority"] = 1.0 - middle
        tried = design.model_copy(update={"design": design.design.model_copy(update=change)})
        share = operate(tried, bank, [NULL], executor, simulations)[0].any_rejected
        if share > error:
            low = middle
        else:
            high, best = middle, tried
    return best


def historical_drift(
    design: TrialDesign, shifts: Sequence[float] = (-0.15, -0.10, -0.05, 0.0, 0.05, 0.10, 0.15)
) -> pd.DataFrame:
    """Exact chance that a treatment without effect is called worth while, if success of the control has drifted.

    Columns: drift (of the control's success today from the historical ``p0``), called.
    """
    plan = stages(design)
    p0 = float(design.design.p0 or 0.0)
    rows = []
    for shift in shifts:
        p = p0 + shift
        if 0.0 < p < 1.0:
            rows.append((shift, characteristics(plan.r1, plan.n1, plan.r, plan.n, p)[0]))
    return pd.DataFrame(rows, columns=["drift", "called"])
