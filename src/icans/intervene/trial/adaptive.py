"""Bayesian adaptive trials of a binary harm: response-adaptive allocation, arm dropping, early stopping.

Rates of harm have beta posteriors. At every look, on patients whose outcome is in: arms that are almost surely not the
best (without a common control), or not better than the control, are dropped; an arm almost surely best (or better than
the control) ends the trial; arms that are alike end it too. Else the allocation follows the chance to be best, within
limits. The rules are those that Granholm et al. describe (2022, doi 10.1016/j.jclinepi.2022.11.002); this is an own
implementation, vectorised over trials and with posteriors by integration.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from icans.intervene.trial.posterior import chance_best, chance_better, chance_close

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: What becomes of a trial.
STATES = ("most patients", "superior", "equivalent", "futile")


@dataclass(frozen=True)
class Rules:
    """Rules of an adaptive trial.

    ``known`` and ``randomised``: patients with outcome and patients randomised at each look. ``control``: index of a
    common control, None without. ``fixed_control``: its share of allocation (None: as its chance to be best).
    ``least``: smallest allocation of every arm. ``soften``: power of the chances to be best, 0 (equal) to 1.
    ``superiority`` and ``inferiority``: thresholds of chances. ``futility``: an arm is dropped if its chance to be
    better than the control by ``futility_margin`` is below; needs a control. ``prior``: shapes of the beta prior.
    ``response_adaptive``: False keeps the allocation equal among the arms that are left.
    """

    known: tuple[int, ...]
    randomised: tuple[int, ...]
    arms: int
    superiority: float = 0.99
    inferiority: float = 0.01
    equivalence: float | None = None
    equivalence_margin: float = 0.0
    futility: float | None = None
    futility_margin: float = 0.0
    control: int | None = None
    fixed_control: float | None = None
    least: float = 0.0
    soften: float = 1.0
    response_adaptive: bool = True
    prior: tuple[float, float] = (1.0, 1.0)


@dataclass
class Course:
    """What became of many trials, one row each.

    ``state``: index into :data:`STATES`; ``winner``: arm declared superior, -1: none; ``look``: index of the last look;
    ``n`` and ``events``: patients randomised to each arm and their harms, (R, A); ``dropped``: look at which an arm was
    dropped, -1: never; ``best``: arm with the highest chance to be best at the end; ``allocation``: mean share of each
    arm at each look, (K, A), over trials that were running.
    """

    state: npt.NDArray[np.int64]
    winner: npt.NDArray[np.int64]
    look: npt.NDArray[np.int64]
    n: Array
    events: Array
    dropped: npt.NDArray[np.int64]
    best: npt.NDArray[np.int64]
    allocation: Array = field(default_factory=lambda: np.zeros((0, 0)))
    running: Array = field(default_factory=lambda: np.zeros(0))


def allocate(chance: Array, active: Mask, rules: Rules) -> Array:
    """Allocation of the next patients from the chances to be best, (R, A): within limits, rows that sum to 1."""
    share = np.where(active, np.maximum(chance, 0.0) ** rules.soften, 0.0) if rules.response_adaptive else active * 1.0
    empty = share.sum(axis=1) <= 0
    share[empty] = active[empty]
    fixed = np.full(share.shape, np.nan)
    if rules.control is not None and rules.fixed_control is not None:
        fixed[:, rules.control] = np.where(active[:, rules.control], rules.fixed_control, np.nan)
    for _ in range(share.shape[1] + 1):
        free = active & np.isnan(fixed)
        left = 1.0 - np.nansum(fixed, axis=1, keepdims=True)
        weight = np.where(free, share, 0.0)
        total = weight.sum(axis=1, keepdims=True)
        even = free / np.maximum(free.sum(axis=1, keepdims=True), 1)
        tried = np.where(free, left * np.where(total > 0, weight / np.where(total > 0, total, 1.0), even), 0.0)
        low = free & (tried < rules.least)
        if not low.any():
            break
        fixed[low] = rules.least
    made = np.where(np.isnan(fixed), tried, fixed)
    made = np.where(active, made, 0.0)
    return np.asarray(made / made.sum(axis=1, keepdims=True))


def run(outcome: Mask, rules: Rules, uniform: Array, missing: Mask | None = None) -> Course:
    """Run trials.

    Parameters
    ----------
    outcome
        Harm of patient i of trial r under every arm, (R, n, A): potential outcomes, so that only what is allocated is
        seen and arms share their patients.
    rules
        See :class:`Rules`.
    uniform
        Numbers that allocate, (R, n).
    missing
        Outcomes that never come in, (R, n): these patients count as randomised and as nothing else.
    """
    rows, _, arms = outcome.shape
    seen = np.ones(outcome.shape[:2], dtype=bool) if missing is None else ~missing
    arm = np.full(outcome.shape[:2], -1)
    harm = np.zeros(outcome.shape[:2], dtype=bool)
    active = np.ones((rows, arms), dtype=bool)
    share = allocate(np.full((rows, arms), 1.0 / arms), active, rules)
    control = None if rules.control is None else np.full(rows, rules.control)
    state, winner = np.zeros(rows, dtype=int), np.full(rows, -1)
    look, dropped = np.zeros(rows, dtype=int), np.full((rows, arms), -1)
    best = np.zeros(rows, dtype=int)
    allocation, running = np.zeros((len(rules.known), arms)), np.zeros(len(rules.known))
    live = np.arange(rows)
    before = 0
    for k, (known, randomised) in enumerate(zip(rules.known, rules.randomised)):
        new = slice(before, randomised)
        edge = share[live].cumsum(axis=1)
        drawn = np.minimum((uniform[live, new, None] > edge[:, None, :]).sum(axis=2), arms - 1)
        arm[live, new] = drawn
        harm[live, new] = np.take_along_axis(outcome[live, new], drawn[..., None], axis=2)[..., 0]
        before = randomised
        look[live] = k
        allocation[k], running[k] = share[live].sum(axis=0), len(live)
        a, b = _posterior(arm[live, :known], harm[live, :known], seen[live, :known], arms, rules)
        on = active[live]
        mine = None if control is None else control[live]
        ended, won, chance = _judge(a, b, on, mine, rules)
        newly = active[live] & ~on
        dropped[live] = np.where(newly, k, dropped[live])
        active[live] = on
        best[live] = chance.argmax(axis=1)
        state[live], winner[live] = ended, won
        go = ended == 0
        share[live[go]] = allocate(chance[go], on[go], rules)
        live = live[go]
        if len(live) == 0:
            break
    n = np.stack([(arm == j).sum(axis=1) for j in range(arms)], axis=1).astype(float)
    events = np.stack([((arm == j) & harm).sum(axis=1) for j in range(arms)], axis=1).astype(float)
    return Course(state, winner, look, n, events, dropped, best, allocation, running)


def _posterior(arm: Array, harm: Mask, seen: Mask, arms: int, rules: Rules) -> tuple[Array, Array]:
    harms = np.stack([((arm == j) & harm & seen).sum(axis=1) for j in range(arms)], axis=1)
    total = np.stack([((arm == j) & seen).sum(axis=1) for j in range(arms)], axis=1)
    return harms + rules.prior[0], total - harms + rules.prior[1]


def _judge(a: Array, b: Array, on: Mask, control: Array | None, rules: Rules) -> tuple[Array, Array, Array]:
    """State and winner of every trial, and chances to be best; arms that are dropped are taken out of ``on``."""
    if control is None:
        return _judge_without(a, b, on, rules)
    return _judge_against(a, b, on, control, rules)


def _judge_without(a: Array, b: Array, on: Mask, rules: Rules) -> tuple[Array, Array, Array]:
    chance = chance_best(a, b, on)
    for _ in range(on.shape[1] - 1):
        poor = on & (chance < rules.inferiority)
        again = poor.any(axis=1)
        if not again.any():
            break
        on &= ~poor
        chance[again] = chance_best(a[again], b[again], on[again])
    top = chance.argmax(axis=1)
    superior = chance.max(axis=1) > rules.superiority
    state = np.where(superior, 1, 0)
    if rules.equivalence is not None:
        open_ = np.flatnonzero(~superior)
        close = chance_close(a[open_], b[open_], on[open_], rules.equivalence_margin) > rules.equivalence
        state[open_[close]] = 2
    return state, np.where(superior, top, -1), chance


def _judge_against(a: Array, b: Array, on: Mask, control: Array, rules: Rules) -> tuple[Array, Array, Array]:
    """The first arm that beats the control ends the trial; arms that are worse, alike or futile are dropped."""
    rows = np.arange(len(a))
    chance = chance_best(a, b, on)
    better = chance_better(a, b, control, on)
    others = on.copy()
    others[rows, control] = False
    winners = others & (better > rules.superiority)
    superior = winners.any(axis=1)
    top = np.where(winners, chance, -1.0).argmax(axis=1)
    drop = others & (better < rules.inferiority)
    alike, futile = np.zeros_like(on), np.zeros_like(on)
    if rules.equivalence is not None:
        over = chance_better(a, b, control, on, rules.equivalence_margin)
        under = 1.0 - chance_better(a, b, control, on, -rules.equivalence_margin)
        alike = others & (1.0 - over - under > rules.equivalence)
    if rules.futility is not None:
        futile = others & (chance_better(a, b, control, on, rules.futility_margin) < rules.futility)
    on &= ~((drop | alike | futile) & np.asarray(~superior)[:, None])
    alone = ~superior & (on.sum(axis=1) == 1)
    state = np.where(superior, 1, np.where(alone, np.where(alike.any(axis=1), 2, 3), 0))
    gone = (drop | alike | futile).any(axis=1) & ~superior & ~alone
    if gone.any():
        chance[gone] = chance_best(a[gone], b[gone], on[gone])
    return state, np.where(superior, top, -1), chance
