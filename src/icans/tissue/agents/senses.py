"""What every cell senses: levels and gradients of its voxel, neighbours, its own state, blood."""

from __future__ import annotations

from typing import Any

import numpy as np

from icans.tissue.agents import names as nm
from icans.tissue.agents.kernel import kernel
from icans.tissue.agents.motion import gradient


@kernel
def sense(
    lo: int, hi: int, time: float, kind: Any, state: Any, x: Any, radius: Any, volume: Any, pressure: Any, damage: Any,
    trait: Any, partner: Any, held: Any, barrier: Any, pericyte: Any, plugged: Any, age: Any, voxel: Any,
    perfusion: Any, values: Any, mask: Any, h: float, behaviour: Any, contact: int, start: Any, order: Any, where: Any,
    shape: Any, gradients: bool, signal: Any,
) -> None:  # fmt: skip
    """Fill the signals (signals, room) of cells lo … hi-1, but for those of blood, which are the same for all.

    Contacts are live neighbours within the reach of adhesion, counted by kind from row ``contact``.
    """
    substances = values.shape[0]
    flat = values.reshape(substances, -1)
    nx, ny, nz = shape[0], shape[1], shape[2]
    kinds = (signal.shape[0] - contact) // 2
    for i in range(lo, hi):
        signal[nm.PRESSURE, i], signal[nm.VOLUME, i] = pressure[i], volume[i]
        signal[nm.DAMAGE, i], signal[nm.DEAD, i] = damage[i], 1.0 if state[i] else 0.0
        signal[nm.TIME, i], signal[nm.TRAIT, i] = time, trait[i]
        signal[nm.ATTACHED, i] = 1.0 if partner[i] >= 0 else 0.0
        signal[nm.APOPTOTIC, i] = 1.0 if state[i] == 1 else 0.0
        signal[nm.NECROTIC, i] = 1.0 if state[i] >= 2 else 0.0
        signal[nm.HELD, i] = 1.0 if held[i] > 0 else 0.0
        signal[nm.BARRIER_LOSS, i], signal[nm.PERICYTE_LOSS, i] = 1.0 - barrier[i], 1.0 - pericyte[i]
        signal[nm.PLUGGED, i], signal[nm.AGE, i] = plugged[i], age[i]
        signal[nm.PERFUSION, i] = perfusion[voxel[i]] if perfusion.size else 1.0
        first = nm.NECROTIC + 1
        for s in range(substances):
            signal[first + s, i] = flat[s, voxel[i]]
            if gradients:
                a, b, c = gradient(values, mask, s, x[0, i], x[1, i], x[2, i], h)
                signal[first + substances + s, i] = np.sqrt(a * a + b * b + c * c)
        for k in range(kinds):
            signal[contact + k, i] = 0.0
        live = dead = 0.0
        w = where[i]
        bx, by, bz = w % nx, (w // nx) % ny, w // (nx * ny)
        for c in range(max(bz - 1, 0), min(bz + 2, nz)):
            for b in range(max(by - 1, 0), min(by + 2, ny)):
                row = (c * ny + b) * nx
                for at in range(start[row + max(bx - 1, 0)], start[row + min(bx + 2, nx)]):
                    j = order[at]
                    dx, dy, dz = x[0, i] - x[0, j], x[1, i] - x[1, j], x[2, i] - x[2, j]
                    reach = behaviour[nm.REACH, i] * radius[i] + behaviour[nm.REACH, j] * radius[j]
                    if j == i or dx * dx + dy * dy + dz * dz >= reach * reach:
                        continue
                    if state[j]:
                        dead += 1.0
                    else:
                        live += 1.0
                        signal[contact + kind[j], i] += 1.0
        signal[nm.LIVE_CONTACT, i], signal[nm.DEAD_CONTACT, i] = live, dead
