"""Synthetic courses with a known truth for the emulation of a target trial, and that truth by exact recursion.

A patient has a baseline sign c (0 or 1) and a grade of 1 or 2 until the event. Physicians treat those who look worse.
Chances of a day depend on c, the grade and whether treatment has begun; the truth under a strategy is summed over all
states (the g-formula with the parameters that made the data).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icans.intervene.emulate.courses import Courses, Protocol

DAYS = 6


@dataclass(frozen=True)
class World:
    """Chances: baseline sign, worsening 1 to 2, event, start of treatment; ``help``: factor of treatment on both."""

    sign: float = 0.4
    worsen: tuple[float, float] = (0.10, 0.30)
    event: tuple[tuple[float, float], tuple[float, float]] = ((0.02, 0.12), (0.06, 0.25))
    start: tuple[tuple[float, float], tuple[float, float]] = ((0.10, 0.45), (0.40, 0.80))
    help: float = 0.5


def draw(world: World, n: int, seed: int) -> Courses:
    """Courses of ``n`` patients as physicians treated them."""
    rng = np.random.default_rng(seed)
    c = (rng.random(n) < world.sign).astype(int)
    grade = np.zeros((n, DAYS + 1))
    treated = np.zeros((n, DAYS + 1), dtype=bool)
    g, on, over = np.ones(n, dtype=int), np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    event, worsen, start = np.array(world.event), np.array(world.worsen), np.array(world.start)
    for k in range(DAYS + 1):
        if k > 0:
            factor = np.where(on, world.help, 1.0)
            hit = ~over & (rng.random(n) < event[c, g - 1] * factor)
            up = ~over & ~hit & (g == 1) & (rng.random(n) < worsen[c] * factor)
            g = np.where(up, 2, g)
            over |= hit
        grade[:, k] = np.where(over, 3, g)
        begin = ~over & ~on & (rng.random(n) < start[c, g - 1])
        on |= begin
        treated[:, k] = on
    names = ("c", "two", "c and two")
    two = (grade >= 2).astype(float)
    sign = np.broadcast_to(c[:, None], grade.shape).astype(float)
    return Courses(
        tuple(str(i) for i in range(n)), grade, treated, np.ones(grade.shape, dtype=bool),
        np.stack([sign, two, sign * two], axis=2), names,
    )  # fmt: skip


def truth(world: World, protocol: Protocol, arm: str) -> float:
    """Chance of the event by the last day, had everybody followed an arm."""
    total = 0.0
    for c, share in ((0, 1 - world.sign), (1, world.sign)):
        state = {(1, False): 1.0}
        for k in range(DAYS + 1):
            if k > 0:
                state, hit = _night(world, c, state)
                total += share * hit
            state = _choice(world, c, state, arm, k, protocol)
    return total


def _night(world: World, c: int, state: dict) -> tuple[dict, float]:
    after: dict = {}
    lost = 0.0
    for (g, on), p in state.items():
        factor = world.help if on else 1.0
        hit = world.event[c][g - 1] * factor
        up = world.worsen[c] * factor if g == 1 else 0.0
        lost += p * hit
        after[(2, on)] = after.get((2, on), 0.0) + p * (1 - hit) * (up if g == 1 else 1.0)
        if g == 1:
            after[(1, on)] = after.get((1, on), 0.0) + p * (1 - hit) * (1 - up)
    return after, lost


def _choice(world: World, c: int, state: dict, arm: str, k: int, protocol: Protocol) -> dict:
    after: dict = {}
    for (g, on), p in state.items():
        natural = world.start[c][g - 1]
        begin = {"early": 1.0 if k == protocol.grace else natural, "wait": natural if g >= protocol.wait else 0.0}[arm]
        begin = 1.0 if on else begin
        after[(g, True)] = after.get((g, True), 0.0) + p * begin
        after[(g, False)] = after.get((g, False), 0.0) + p * (1 - begin)
    return after
