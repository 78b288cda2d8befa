"""Policies on the same virtual patients: outcome vectors, paired differences, the Pareto front. All of it synthetic."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import ModelError, Problem
from icans.intervene.loop.belief import Library, make_library
from icans.intervene.loop.pareto import front
from icans.intervene.loop.planning import mpc_certain, mpc_scenarios, one_step_bayes, oracle
from icans.intervene.loop.policies import (
    Guideline,
    Never,
    Policy,
    Threshold,
    anakinra_prophylaxis,
    steroid_prophylaxis,
)  # fmt: skip
from icans.intervene.loop.ward import Settings, Ward
from icans.intervene.world import RiskForecast, cast, collect
from icans.mechanism.parameters import unknown

Array = npt.NDArray[np.float64]

#: Policies by name; ``threshold`` may be followed by its risk (``threshold:0.15``).
NAMES = ("never", "guideline", "anakinra", "steroid", "threshold", "one-step", "mpc-certain", "mpc", "oracle")
#: Risk at which ``threshold`` treats where none is told.
ABOVE = 0.15
#: Seeds of the patients that forecasts and beliefs are made from lie so far from the seed of those treated.
APART = 7919
#: Counts of the Pareto front: outcome, and whether lower is better.
FRONT = (("days_icans_ge2", True), ("response_probability", False))
#: Shares told in percent beside the means of the outcome vector.
SHARES = (("icans_ge1", "max_icans_grade", 1), ("icans_ge3", "max_icans_grade", 3), ("crs_ge3", "max_crs_grade", 3))


@dataclass
class Teachers:
    """What policies learn from: other patients of the calibrated population, never those who are treated."""

    settings: Settings
    members: int = 600
    trained_on: int = 400

    @cached_property
    def drugs(self) -> tuple[str, ...]:
        """Drugs of the menu."""
        from icans.intervene.loop.menu import make_menu

        return make_menu(self.settings.drugs, self.settings.switch).drugs

    @cached_property
    def forecast(self) -> RiskForecast:
        """P(ICANS of grade 2 or more within 48 h), from untreated patients and the same laboratory."""
        s = self.settings
        people = cast(self.trained_on, s.product, s.disease, s.seed + APART, drugs=self.drugs)
        seen, events = collect(people, seed=s.seed + APART, drugs=self.drugs, assays=s.assays, rtol=s.rtol,
                               threads=s.threads)  # fmt: skip
        return RiskForecast.fit(seen, events)

    @cached_property
    def library(self) -> Library:
        """Members of beliefs."""
        s = self.settings
        return make_library(self.members, s.product, s.disease, self.drugs, seed=s.seed + 2 * APART, first=1,
                            horizon_d=s.horizon_d, rtol=s.rtol, threads=s.threads)  # fmt: skip


def parse(name: str) -> tuple[str, float]:
    """The kind of a policy and its risk.

    Raises
    ------
    ModelError
        There is none of that name, or a risk that is none.
    """
    head, _, tail = name.partition(":")
    if head not in NAMES or (tail and head != "threshold"):
        raise ModelError([unknown("policy", name, NAMES)])
    try:
        above = float(tail) if tail else ABOVE
    except ValueError:
        above = np.nan
    if not 0 < above < 1:
        raise ModelError([Problem("policies", None, None, name, "threshold:RISK with a risk between 0 and 1",
                                  "Correct it.")])  # fmt: skip
    return head, above


def policy(name: str, teachers: Teachers) -> Policy:
    """A policy by name; see :func:`parse`."""
    head, above = parse(name)
    makers: Mapping[str, Callable[[], Policy]] = {
        "never": Never, "guideline": Guideline, "anakinra": anakinra_prophylaxis, "steroid": steroid_prophylaxis,
        "threshold": lambda: Threshold(teachers.forecast, above, name=f"forecast above {100 * above:g} %"),
        "one-step": lambda: one_step_bayes(teachers.library), "mpc-certain": lambda: mpc_certain(teachers.library),
        "mpc": lambda: mpc_scenarios(teachers.library), "oracle": oracle,
    }  # fmt: skip
    return makers[head]()


@dataclass(frozen=True)
class PolicyResult:
    """One policy: outcome vectors (a row per patient), losses, CPU seconds, patients lost to the solver."""

    name: str
    outcomes: pd.DataFrame
    loss: Array
    cpu_s: float
    failed: int


def run_policy(ward: Ward, decide: Policy, rows: npt.ArrayLike | None = None) -> PolicyResult:
    """One episode of every patient of the pool (or of some rows of it) under a policy."""
    at = np.arange(len(ward.people)) if rows is None else np.asarray(rows)
    started = time.process_time()
    chart = ward.begin(at)
    decide.begin(ward)
    while not ward.over().all():
        ward.step(decide.act(chart))
        chart = ward.chart()
    failed = int((~ward.world.ok).sum())
    return PolicyResult(decide.name, ward.world.outcomes(), ward.loss.copy(), time.process_time() - started, failed)


@dataclass(frozen=True)
class Comparison:
    """Several policies on the same patients."""

    settings: Settings
    results: tuple[PolicyResult, ...]
    baseline: str

    def table(self) -> pd.DataFrame:
        """A row per policy: mean loss with 95 % interval, paired difference from the baseline, shares, mean outcomes.

        Intervals are of the mean over virtual patients (normal, from the SD of patients or of their differences): they
        tell how far the number of patients goes, not whether the model is right.
        """
        base = next(r for r in self.results if r.name == self.baseline)
        rows = []
        for r in self.results:
            half = _half(r.loss)
            gap = r.loss - base.loss
            row = {"policy": r.name, "patients": len(r.loss), "loss": r.loss.mean(), "loss_low": r.loss.mean() - half,
                   "loss_high": r.loss.mean() + half, "difference": gap.mean(),
                   "difference_low": gap.mean() - _half(gap), "difference_high": gap.mean() + _half(gap)}  # fmt: skip
            row |= {f"{name}_percent": 100.0 * float((r.outcomes[of] >= g).mean()) for name, of, g in SHARES}
            row |= {name: float(r.outcomes[name].mean()) for name in r.outcomes}
            rows.append(row | {"cpu_s": r.cpu_s, "failed": r.failed})
        made = pd.DataFrame(rows)
        points = made[[name for name, _ in FRONT]].to_numpy(dtype=float)
        made.insert(1, "on_front", front(points, [low for _, low in FRONT]))
        return made

    def differences(self) -> pd.DataFrame:
        """Mean paired difference of loss between every two policies (row minus column), shape (policies, policies)."""
        names = [r.name for r in self.results]
        gaps = [[float((a.loss - b.loss).mean()) for b in self.results] for a in self.results]
        return pd.DataFrame(gaps, index=names, columns=names)


def _half(values: Array) -> float:
    """Half the width of the 95 % interval of a mean."""
    return float(1.96 * values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def compare(
    settings: Settings, names: Sequence[str] = NAMES, *, patients: int = 200, baseline: str = "guideline",
    teachers: Teachers | None = None, told: Callable[[str], None] | None = None,
) -> Comparison:  # fmt: skip
    """Run policies on patients 1 to ``patients`` of the calibrated population; common random numbers.

    Parameters
    ----------
    names
        See :data:`NAMES`; the baseline is run in any case.
    told
        Called with the name of each policy before it runs.

    Raises
    ------
    ModelError
        Unknown policies, settings that make no sense.
    """
    wanted = list(dict.fromkeys(names if baseline in names else [baseline, *names]))
    for name in wanted:
        parse(name)
    made = teachers or Teachers(settings)
    policies = [policy(name, made) for name in wanted]
    ward = Ward(replace(settings, pool=patients))
    results = []
    for decide in policies:
        if told is not None:
            told(decide.name)
        results.append(run_policy(ward, decide))
    return Comparison(settings, tuple(results), policies[wanted.index(baseline)].name)
