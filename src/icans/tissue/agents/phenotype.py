"""What happens inside cells: volume, damage, division, death, change of kind; barrier and plugging of vessels.

Rates are hazards per minute. Cells decide for themselves; births and removals follow in the order of the cells.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from icans.tissue.agents import names as nm
from icans.tissue.agents.kernel import kernel
from icans.tissue.agents.philox import CYCLE, DIVIDE, TRANSFORM, VESSEL, uniforms

NOTHING, DIVIDES, GOES = 0, 1, 2
#: Fluid leaves a burst cell at this rate, 1/min (PhysiCell, 0.05 per hour [recalled]).
LYSED_FLUID_RATE = 0.05 / 60


@kernel
def _toward(value: float, target: float, rate: float, dt: float) -> float:
    return target + (value - target) * np.exp(-rate * dt)


@kernel
def _volumes(i: int, dt: float, kind: Any, state: Any, fluid: Any, nuclear: Any, cytoplasm: Any, radius: Any,
             volume: Any) -> None:  # fmt: skip
    v = volume[kind[i]]
    total = fluid[i] + nuclear[i] + cytoplasm[i]
    if state[i] == 0:
        solid = 1.0 - v[2]
        fluid[i] = _toward(fluid[i], v[2] * total, v[3], dt)
        cytoplasm[i] = _toward(cytoplasm[i], solid * (v[0] - v[1]), v[4], dt)
        nuclear[i] = _toward(nuclear[i], solid * v[1], v[5], dt)
    elif state[i] == 1:
        fluid[i] = _toward(fluid[i], 0.0, v[7], dt)
        cytoplasm[i] = _toward(cytoplasm[i], 0.0, v[8], dt)
        nuclear[i] = _toward(nuclear[i], 0.0, v[9], dt)
    else:
        if state[i] == 2 and total >= 2.0 * v[0]:
            state[i] = 3
        swells = state[i] == 2
        # A swelling cell takes up fluid in proportion to its size, a burst one loses it.
        fluid[i] = (
            fluid[i] + total * (1.0 - np.exp(-v[11] * dt)) if swells else _toward(fluid[i], 0.0, LYSED_FLUID_RATE, dt)
        )
        cytoplasm[i] = _toward(cytoplasm[i], 0.0, v[12], dt)
        nuclear[i] = _toward(nuclear[i], 0.0, v[12], dt)
    radius[i] = (0.75 / np.pi * max(fluid[i] + nuclear[i] + cytoplasm[i], 1e-9)) ** (1.0 / 3.0)


@kernel
def _vessel(i: int, u: Any, dt: float, behaviour: Any, barrier: Any, pericyte: Any, plugged: Any) -> None:
    down, up = behaviour[nm.BARRIER_DOWN, i], behaviour[nm.BARRIER_UP, i]
    if down + up > 0.0:
        barrier[i] = _toward(barrier[i], up / (up + down), up + down, dt)
    down, up = behaviour[nm.PERICYTE_DOWN, i], behaviour[nm.PERICYTE_UP, i]
    if down + up > 0.0:
        pericyte[i] = _toward(pericyte[i], up / (up + down), up + down, dt)
    rate = behaviour[nm.UNPLUG, i] if plugged[i] else behaviour[nm.PLUG, i]
    if rate > 0.0 and u < 1.0 - np.exp(-rate * dt):
        plugged[i] = 1 - plugged[i]


@kernel
def _one_of(i: int, u: float, v: float, dt: float, first: int, count: int, behaviour: Any, weight: Any) -> int:
    """Which of ``count`` hazards (rows of behaviour from ``first``, times weight) strikes in dt; -1 for none."""
    total = 0.0
    for c in range(count):
        total += behaviour[first + c, i] * weight[c]
    if total <= 0.0 or u >= 1.0 - np.exp(-total * dt):
        return -1
    mark, c = v * total, 0
    while c < count - 1 and mark > behaviour[first + c, i] * weight[c]:
        mark -= behaviour[first + c, i] * weight[c]
        c += 1
    return c


@kernel
def live(
    lo: int, hi: int, dt: float, step: int, seed: int, identity: Any, kind: Any, state: Any, fluid: Any, nuclear: Any,
    cytoplasm: Any, radius: Any, clock: Any, age: Any, damage: Any, barrier: Any, pericyte: Any, plugged: Any,
    volume: Any, vessel: Any, behaviour: Any, transform: int, leave: int, circulating: Any, pace: Any,
    division: Any, life: Any, held: Any, arrested: Any, event: Any, enters: Any,
) -> None:  # fmt: skip
    """Advance cells lo … hi-1 by dt min: ``event``: who divides, goes; ``enters``: whom vessels let in (room,)."""
    alike = np.ones(circulating.size)
    for i in range(lo, hi):
        event[i], enters[i] = NOTHING, -1
        k = kind[i]
        if arrested[k] and state[i] == 0 and held[i] > 0:
            continue
        age[i] += dt
        _volumes(i, dt, kind, state, fluid, nuclear, cytoplasm, radius, volume)
        if state[i]:
            clock[i] += dt
            if clock[i] >= (volume[k, 6] if state[i] == 1 else volume[k, 10]):
                event[i] = GOES
            continue
        damage[i] = max(0.0, damage[i] + dt * (behaviour[nm.DAMAGE_RATE, i] - behaviour[nm.REPAIR, i] * damage[i]))
        u = uniforms(seed, identity[i], step, CYCLE)
        apoptosis = behaviour[nm.APOPTOSIS, i]
        if life[k, 1] > 0.0:
            apoptosis += life[k, 1] / max(life[k, 0] - age[i], 1e-9)
        dying = apoptosis + behaviour[nm.NECROSIS, i]
        if u[0] < 1.0 - np.exp(-dying * dt):
            state[i] = 1 if u[1] * dying < apoptosis else 2
            clock[i] = 0.0
            continue
        by_chance = division[k] < 0.0
        if by_chance and u[2] < 1.0 - np.exp(-behaviour[nm.CYCLE, i] * dt):
            event[i] = DIVIDES
        if not by_chance and age[i] * behaviour[nm.CYCLE, i] > pace[i]:
            event[i] = DIVIDES
        w = uniforms(seed, identity[i], step, TRANSFORM)
        becomes = _one_of(i, w[0], w[1], dt, transform, circulating.size, behaviour, alike)
        if becomes >= 0:
            kind[i] = becomes
        if vessel[k]:
            w = uniforms(seed, identity[i], step, VESSEL)
            _vessel(i, w[0], dt, behaviour, barrier, pericyte, plugged)
            if not plugged[i]:
                enters[i] = _one_of(i, w[1], w[2], dt, leave, circulating.size, behaviour, circulating)


@kernel
def halve(n: int, event: Any, seed: int, step: int, identity: Any, flat: bool, x: Any, radius: Any, fluid: Any,
          nuclear: Any, cytoplasm: Any, partner: Any, mothers: Any, place: Any) -> int:  # fmt: skip
    """Divide those who divide: halve the mother, tell where the daughter lies; returns how many."""
    count = 0
    for i in range(n):
        if event[i] != DIVIDES:
            continue
        u = uniforms(seed, identity[i], step, DIVIDE)
        angle, z = 2.0 * np.pi * u[0], 0.0 if flat else 2.0 * u[1] - 1.0
        side = np.sqrt(max(1.0 - z * z, 0.0))
        fluid[i], nuclear[i], cytoplasm[i] = 0.5 * fluid[i], 0.5 * nuclear[i], 0.5 * cytoplasm[i]
        radius[i] *= 0.5 ** (1.0 / 3.0)
        partner[i] = -1
        direction = (side * np.cos(angle), side * np.sin(angle), z)
        for a in range(3):
            place[a, count] = x[a, i] + direction[a] * radius[i]
            x[a, i] -= direction[a] * radius[i]
        mothers[count] = i
        count += 1
    return count
