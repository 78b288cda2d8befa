"""Contact killing: an effector seizes a neighbour, holds it, wounds it, kills it, lets go.

Rates are hazards: per step of dt minutes something of rate r happens with probability 1 - exp(-r dt). Of several
neighbours one is seized in proportion to its rate. Effectors decide for themselves (any thread, any order); what they
do to others is then done in the order of the cells.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from icans.tissue.agents import names as nm
from icans.tissue.agents.kernel import kernel
from icans.tissue.agents.philox import ATTACH, EATS, KILL, uniforms

HOLD, KILLS, LETS_GO = 0, 1, 2


@kernel
def _neighbours(
    i: int, mark: float, kind: Any, state: Any, x: Any, radius: Any, held: Any, behaviour: Any, attack: int, seize: Any,
    alone: Any, start: Any, order: Any, where: Any, shape: Any,
) -> Any:  # fmt: skip
    """Sum of the rates at which cell i seizes its neighbours, and the one at which that sum reaches a mark >= 0."""
    nx, ny, nz = shape[0], shape[1], shape[2]
    w = where[i]
    bx, by, bz = w % nx, (w // nx) % ny, w // (nx * ny)
    total, found = 0.0, -1
    for c in range(max(bz - 1, 0), min(bz + 2, nz)):
        for b in range(max(by - 1, 0), min(by + 2, ny)):
            row = (c * ny + b) * nx
            for at in range(start[row + max(bx - 1, 0)], start[row + min(bx + 2, nx)]):
                j = order[at]
                rate = behaviour[attack + kind[j], i] * behaviour[nm.IMMUNOGENICITY, j]
                if rate == 0.0 or state[j] or j == i or (held[j] > 0 and alone[kind[i]]):
                    continue
                dx, dy, dz = x[0, i] - x[0, j], x[1, i] - x[1, j], x[2, i] - x[2, j]
                near, far = seize[kind[i], 0], seize[kind[i], 1]
                if near < 0.0:
                    near = far = behaviour[nm.REACH, i] * radius[i] + behaviour[nm.REACH, j] * radius[j]
                d = np.sqrt(dx * dx + dy * dy + dz * dz)
                if d < far:
                    total += rate if d <= near else rate * (far - d) / (far - near)
                    if found < 0 and mark >= 0.0 and total >= mark:
                        found = j
    return total, found


@kernel
def engage(
    lo: int, hi: int, dt: float, step: int, seed: int, identity: Any, kind: Any, state: Any, x: Any, radius: Any,
    partner: Any, held: Any, behaviour: Any, attack: int, attacker: Any,
    seize: Any, alone: Any, start: Any, order: Any, where: Any, shape: Any, act: Any, chosen: Any,
) -> None:  # fmt: skip
    """Decide for effectors lo … hi-1: ``chosen`` (room,) whom to seize or -1, ``act`` (room,) what befalls the held."""
    for i in range(lo, hi):
        act[i], chosen[i] = HOLD, -1
        if state[i] or not attacker[kind[i]]:
            continue
        j = partner[i]
        if j >= 0:
            u = uniforms(seed, identity[i], step, KILL)
            kills = 1.0 - np.exp(-behaviour[nm.KILL, i] * behaviour[nm.IMMUNOGENICITY, j] * dt)
            if state[j] or u[0] >= kills:
                act[i] = LETS_GO if state[j] or u[1] < 1.0 - np.exp(-behaviour[nm.DETACH, i] * dt) else HOLD
            else:
                act[i] = KILLS
            continue
        total, _ = _neighbours(
            i, -1.0, kind, state, x, radius, held, behaviour, attack, seize, alone, start, order, where, shape
        )  # fmt: skip
        if total > 0.0:
            u = uniforms(seed, identity[i], step, ATTACH)
            if u[0] < 1.0 - np.exp(-total * dt):
                mark = u[1] * total
                _, chosen[i] = _neighbours(
                    i, mark, kind, state, x, radius, held, behaviour, attack, seize, alone, start, order, where, shape
                )  # fmt: skip


@kernel
def strike(n: int, dt: float, kind: Any, state: Any, partner: Any, held: Any, damage: Any, clock: Any, behaviour: Any,
           alone: Any, act: Any, chosen: Any, kills: Any) -> None:  # fmt: skip
    """Carry out what the effectors decided, in order; ``kills`` (kinds, kinds) counts who killed whom."""
    for i in range(n):
        held[i] = 0
    for i in range(n):
        if partner[i] >= 0:
            held[partner[i]] += 1
    for i in range(n):
        j = partner[i]
        if j >= 0:
            damage[j] += behaviour[nm.ATTACK_DAMAGE, i] * dt
            if act[i] == KILLS and state[j] == 0:
                state[j], clock[j], partner[j] = 1, 0.0, -1
                kills[kind[i], kind[j]] += 1
            if act[i] != HOLD or state[i]:
                partner[i] = -1
                held[j] -= 1
        elif chosen[i] >= 0 and not (alone[kind[i]] and held[chosen[i]] > 0):
            partner[i] = chosen[i]
            held[chosen[i]] += 1


@kernel
def eat(
    lo: int, hi: int, dt: float, step: int, seed: int, identity: Any, state: Any, x: Any, radius: Any, behaviour: Any,
    start: Any, order: Any, where: Any, shape: Any, chosen: Any,
) -> None:  # fmt: skip
    """Which dead neighbour each live cell of lo … hi-1 takes up in dt minutes: ``chosen`` (room,), -1 for none."""
    nx, ny, nz = shape[0], shape[1], shape[2]
    for i in range(lo, hi):
        chosen[i] = -1
        rate = behaviour[nm.EAT, i]
        if state[i] or rate == 0.0 or uniforms(seed, identity[i], step, EATS)[0] >= 1.0 - np.exp(-rate * dt):
            continue
        w, best = where[i], np.inf
        bx, by, bz = w % nx, (w // nx) % ny, w // (nx * ny)
        for c in range(max(bz - 1, 0), min(bz + 2, nz)):
            for b in range(max(by - 1, 0), min(by + 2, ny)):
                row = (c * ny + b) * nx
                for at in range(start[row + max(bx - 1, 0)], start[row + min(bx + 2, nx)]):
                    j = order[at]
                    dx, dy, dz = x[0, i] - x[0, j], x[1, i] - x[1, j], x[2, i] - x[2, j]
                    reach = behaviour[nm.REACH, i] * radius[i] + behaviour[nm.REACH, j] * radius[j]
                    d2 = dx * dx + dy * dy + dz * dz
                    if state[j] and d2 < reach * reach and d2 < best:
                        best, chosen[i] = d2, j
