"""Policies that look ahead: one-step Bayesian, receding horizon (certainty-equivalent and scenario), oracle.

All of them improve on the guideline by trying it out ("rollout", Bertsekas 2020, Rollout, Policy Iteration): at a
decision each plan is played forward from what is believed, the guideline answering to grades meanwhile; the plan of
least expected loss is begun, and reconsidered at the next decision. They differ in what they believe and how far they
look:

===================  ==========================================  =======================
policy               belief                                      looks ahead
===================  ==========================================  =======================
one-step Bayes       weighted virtual patients (:mod:`.belief`)  one day
MPC, certainty       the weightiest of them, taken for certain   ``horizon_h``
MPC, scenarios       several of them, by weight                  ``horizon_h``
oracle               the patient's own truth                     to the end of the episode
===================  ==========================================  =======================

The loss counts toxicity until the horizon and the response expected at day 28 if nothing more were given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from icans.intervene.loop.belief import Belief, Library
from icans.intervene.loop.menu import Actions, Limits, Menu, doses_of
from icans.intervene.loop.policies import Guideline
from icans.intervene.loop.ward import Chart, Ward
from icans.intervene.world import World
from icans.intervene.world.outcomes import DAY_28
from icans.intervene.world.outcomes import parameters as outcome_parameters

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: Hours between the guideline's looks while a plan is played forward.
STRIDE_H = 6.0


@dataclass(frozen=True)
class Plan:
    """What is given ahead of grades: drug, level, hours between doses, while the plan is held; or the switch."""

    name: str
    doses: tuple[tuple[str, int, float], ...] = ()
    switch: bool = False


#: Plans that are tried; the first is the guideline alone.
PLANS = (
    Plan("guideline alone"),
    Plan("anakinra 100 mg every 12 h", (("anakinra", 1, 12.0),)),
    Plan("anakinra 200 mg every 6 h", (("anakinra", 2, 6.0),)),
    Plan("dexamethasone 10 mg a day", (("dexamethasone", 1, 24.0),)),
    Plan("dexamethasone 10 mg every 6 h", (("dexamethasone", 1, 6.0),)),
    Plan("anakinra and dexamethasone", (("anakinra", 1, 12.0), ("dexamethasone", 1, 12.0))),
    Plan("tocilizumab", (("tocilizumab", 1, 1e6),)),
    Plan("switch", switch=True),
)


def play(
    world: World, limits: Limits, menu: Menu, plans: Sequence[Plan], *, horizon_h: float, course_h: float,
    until_h: float, weights: Mapping[str, float], care: Guideline,
) -> Array:  # fmt: skip
    """Loss of each plan for each patient of a world, shape (n, plans). The world itself is left as it is.

    Parameters
    ----------
    limits
        What was given by now to each of them.
    horizon_h, course_h
        Hours for which toxicity is counted, and for which a plan is held.
    until_h
        End of the episode, hours since infusion: nothing is played beyond it.
    """
    n, c = len(world), len(plans)
    rows = np.repeat(np.arange(n), c)
    which = np.tile(np.arange(c), n)
    ahead, bound = _quiet(world).branch(rows), limits.rows(rows)
    entries, begun = ahead.rules.solver.entries, ahead.clock_h.copy()
    last = {(p, k): np.full(n * c, -np.inf) for p, plan in enumerate(plans) for k in range(len(plan.doses))}
    total = min(horizon_h, until_h - world.time_h)
    for _ in range(round(total / STRIDE_H)):
        clock = ahead.clock_h
        severity = ahead.truth("crs_severity", "encephalopathy")
        crs, icans = ahead.reader.crs(severity[:, 0]), ahead.reader.icans(severity[:, 1])
        made = care.by_grades(crs, icans, menu)
        held = clock - begun < course_h - 1e-6
        for p, plan in enumerate(plans):
            made = _hold(plan, made, menu, (which == p) & held, clock, {k: last[p, k] for k in range(len(plan.doses))})
        levels, _ = bound.take(menu, made.doses, clock, ahead.weight_kg)
        switch = made.switch & ~bound.switched & (menu.switch is not None)
        bound.switched = bound.switched | switch
        ahead.transfer(made.icu)
        ahead.step(STRIDE_H, doses_of(menu, entries, ahead.weight_kg, clock, levels, switch))
    found = ahead.outcome_columns()
    cost = np.asarray(sum(w * found[k] for k, w in weights.items() if k != "response_probability"), dtype=float)
    cost = cost + weights.get("response_probability", 0.0) * _response(ahead)
    return np.where(ahead.ok, cost, np.inf).reshape(n, c)


def _hold(plan: Plan, made: Actions, menu: Menu, who: Mask, clock: Array, last: Mapping[int, Array]) -> Actions:
    """Add the doses of a plan that are due; ``last``: hour of the last dose of each of its drugs, renewed in place."""
    for k, (drug, level, every) in enumerate(plan.doses):
        due = who & (clock - last[k] >= every - 1e-6)
        last[k][due] = clock[due]
        made = made.with_dose(menu.place(drug), level, due)
    return replace(made, switch=made.switch | who) if plan.switch else made


def _quiet(world: World) -> World:
    """The same patients without routine samples: nobody looks at them while a plan is played."""
    lab = replace(world.rules.assays, routine_h=np.full_like(world.rules.assays.routine_h, np.inf))
    made = world.branch(np.arange(len(world)))
    made.rules = replace(world.rules, assays=lab)
    return made


def _response(world: World) -> Array:
    """Response expected at day 28 if nothing more were given, shape (n,)."""
    p, left = outcome_parameters(), DAY_28 - world.time_h
    burden = world.tally.tumour_now
    if left > 1e-6:
        burden = world.hidden.step(left).end[:, world.rules.place(("TUM",))[0]]
    reduction = np.log10(world.tally.tumour_0 / np.maximum(np.nan_to_num(burden), 1e-12))
    return np.asarray(expit(p["response_slope"] * (reduction - p["response_middle"])))


@dataclass
class Planner:
    """A policy that plans.

    Attributes
    ----------
    library
        Members of the belief; None: the truth is looked into (the oracle).
    scenarios
        How many members a plan is played through; 1: the weightiest, taken for certain.
    horizon_h, course_h
        See :func:`play`.
    every_h, until_h
        Hours between decisions, and the last hour of one; the guideline alone after.
    least_gain
        Expected loss that a plan must save.
    """

    name: str
    library: Library | None
    scenarios: int = 12
    horizon_h: float = 168.0
    course_h: float = 48.0
    every_h: float = 24.0
    until_h: float = 12 * 24.0
    least_gain: float = 0.5
    plans: tuple[Plan, ...] = PLANS
    keep: int = 12
    care: Guideline = field(default_factory=Guideline)

    def begin(self, ward: Ward) -> None:
        """Nothing is known; only the oracle keeps the ward."""
        n = len(ward)
        self.care.begin(ward)
        self.weights, self.until = dict(ward.weights), ward.settings.horizon_d * 24.0
        self.ward = ward if self.library is None else None
        self.options = tuple(p for p in self.plans if _possible(p, ward.menu))
        self.choice = np.zeros(n, np.int64)
        self.next_h = -np.inf
        self.last = {(p, k): np.full(n, -np.inf) for p, plan in enumerate(self.options) for k in range(len(plan.doses))}
        self.belief = None if self.library is None else Belief(self.library, self.keep, self.scenarios == 1)
        if self.belief is not None:
            self.belief.begin(n)

    def act(self, chart: Chart) -> Actions:
        """The guideline, and what the plan in force gives ahead."""
        time = float(chart.seen.time_h[0])
        if not np.allclose(chart.seen.time_h, time):
            raise ValueError("a planner decides for patients who are at the same hour; begin all of them together")
        if self.belief is not None:
            self.belief.see(chart)
        if time > self.until_h:
            self.choice[:] = 0
        elif time >= self.next_h - 1e-6:
            self.choice, self.next_h = self._decide(chart, time), time + self.every_h
        made = self.care.act(chart)
        for p, plan in enumerate(self.options):
            last = {k: self.last[p, k] for k in range(len(plan.doses))}
            made = _hold(plan, made, chart.menu, self.choice == p, chart.seen.time_h, last)
        if self.belief is not None:
            levels, _, switch, _ = chart.within(made)
            entries = self.belief.library.world.rules.solver.entries
            self.belief.treat(doses_of(chart.menu, entries, chart.weight_kg, chart.seen.time_h, levels, switch))
        return made

    def _decide(self, chart: Chart, time: float) -> Ints:
        """The plan of least expected loss for each patient, shape (n,)."""
        rows = np.arange(len(chart))
        more: dict[str, Any] = {"until_h": self.until, "weights": self.weights, "care": self.care,
                                "course_h": self.course_h}  # fmt: skip
        if self.belief is None:
            assert self.ward is not None
            cost = play(self.ward.world, chart.limits, chart.menu, self.options, horizon_h=self.until, **more)
        else:
            world, weight = self.belief.members(rows, time)
            k = min(self.scenarios, weight.shape[1])
            best = np.argsort(-weight, axis=1, kind="stable")[:, :k]
            share = np.take_along_axis(weight, best, axis=1)
            share = share / share.sum(axis=1, keepdims=True)
            chosen = (rows[:, None] * weight.shape[1] + best).ravel()
            limits = chart.limits.rows(np.repeat(rows, k))
            each = play(world.branch(chosen), limits, chart.menu, self.options, horizon_h=self.horizon_h, **more)
            cost = (each.reshape(len(rows), k, -1) * share[:, :, None]).sum(axis=1)
        best_plan = np.argmin(cost, axis=1)
        gain = cost[:, 0] - cost[rows, best_plan]
        return np.where(gain > self.least_gain, best_plan, 0)


def _possible(plan: Plan, menu: Menu) -> bool:
    """Whether the menu has what a plan gives."""
    return all(menu.place(d) >= 0 for d, _, _ in plan.doses) and (menu.switch is not None or not plan.switch)


def one_step_bayes(library: Library) -> Planner:
    """Expected loss of the next day alone."""
    return Planner("one-step Bayes", library, horizon_h=24.0, course_h=24.0)


def mpc_certain(library: Library) -> Planner:
    """Receding horizon, the weightiest member taken for certain."""
    return Planner("MPC, certainty-equivalent", library, scenarios=1)


def mpc_scenarios(library: Library, scenarios: int = 12) -> Planner:
    """Receding horizon over several members."""
    return Planner("MPC, scenarios", library, scenarios=scenarios)


def oracle() -> Planner:
    """Knows the patient's truth: what the best information could give with the same plans."""
    return Planner("oracle", None)
