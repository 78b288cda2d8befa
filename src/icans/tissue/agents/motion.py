"""How cells move: neighbours by boxes, PhysiCell's push and pull, a persistent biased walk, Adams-Bashforth steps.

Push and pull: Ghaffarizadeh et al. 2018 (DOI 10.1371/journal.pcbi.1005991). Every cell sums over its own neighbours
in the order of the boxes, and writes only to itself, so that threads may share the cells in any way.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from icans.tissue.agents.kernel import kernel
from icans.tissue.agents.names import ADHESION, BIAS, PERSISTENCE, PREY, REACH, REPULSION, SPEED
from icans.tissue.agents.philox import MOVE, uniforms

#: Pressure in PhysiCell is in units of a cell's push by 12 neighbours that just touch [recalled].
PRESSURE_SCALE = 0.027288820670331


@kernel
def box_of(x: Any, i: int, box: float, shape: Any) -> int:
    """Index of the box in which a cell lies; the last box takes what lies on the far face."""
    a = min(max(int(x[0, i] / box), 0), shape[0] - 1)
    b = min(max(int(x[1, i] / box), 0), shape[1] - 1)
    c = min(max(int(x[2, i] / box), 0), shape[2] - 1)
    return (c * shape[1] + b) * shape[0] + a


@kernel
def sort_boxes(n: int, x: Any, box: float, shape: Any, start: Any, order: Any, where: Any) -> None:
    """Cells by box: those of box b are ``order[start[b]:start[b + 1]]``, in the order of their slots."""
    start[:] = 0
    for i in range(n):
        where[i] = box_of(x, i, box, shape)
        start[where[i] + 1] += 1
    for b in range(1, start.size):
        start[b] += start[b - 1]
    for i in range(n):
        b = where[i]
        order[start[b]] = i
        start[b] += 1
    for b in range(start.size - 1, 0, -1):
        start[b] = start[b - 1]
    start[0] = 0


@kernel
def surfaces(lo: int, hi: int, radius: Any, behaviour: Any, surface: Any) -> None:
    """What forces need of cells lo … hi-1: reach (um) and the roots of adhesion and repulsion, (3, room)."""
    for i in range(lo, hi):
        surface[0, i] = behaviour[REACH, i] * radius[i]
        surface[1, i], surface[2, i] = np.sqrt(behaviour[ADHESION, i]), np.sqrt(behaviour[REPULSION, i])


@kernel
def forces(
    lo: int, hi: int, x: Any, radius: Any, kind: Any, movable: Any, surface: Any, behaviour: Any, shape: Any,
    start: Any, order: Any, where: Any, partner: Any, spring: float, attack: int, chase: Any, push: Any, pressure: Any,
) -> None:  # fmt: skip
    """Velocity (um/min) by push and pull of neighbours for cells lo … hi-1 into ``push`` (3, room), and pressure."""
    nx, ny, nz = shape[0], shape[1], shape[2]
    for i in range(lo, hi):
        vx = vy = vz = press = 0.0
        px, py, pz, ri, reach_i = x[0, i], x[1, i], x[2, i], radius[i], surface[0, i]
        adhesion, repulsion = surface[1, i], surface[2, i]
        prey, w = behaviour[PREY, i], where[i]
        near, end = chase[kind[i], 0], chase[kind[i], 1]
        bx, by, bz = w % nx, (w // nx) % ny, w // (nx * ny)
        for c in range(max(bz - 1, 0), min(bz + 2, nz)):
            for b in range(max(by - 1, 0), min(by + 2, ny)):
                row = (c * ny + b) * nx
                for at in range(start[row + max(bx - 1, 0)], start[row + min(bx + 2, nx)]):
                    j = order[at]
                    dx, dy, dz = px - x[0, j], py - x[1, j], pz - x[2, j]
                    d2 = dx * dx + dy * dy + dz * dz
                    reach, touch = reach_i + surface[0, j], ri + radius[j]
                    far = max(reach, touch, end)
                    if j == i or d2 >= far * far:
                        continue
                    d = max(np.sqrt(d2), 1e-5)
                    f = 0.0
                    if d < touch:
                        close = (1.0 - d / touch) ** 2
                        press += close / PRESSURE_SCALE
                        f += close * repulsion * surface[2, j]
                    if d < reach:
                        f -= (1.0 - d / reach) ** 2 * adhesion * surface[1, j]
                    least, most = (touch + 1.0, far) if near < 0.0 else (near, end)
                    if prey > 0.0 and least < d < most and behaviour[attack + kind[j], i] > 0.0:
                        f -= prey * d
                    f /= d
                    vx += f * dx
                    vy += f * dy
                    vz += f * dz
        pressure[i] = press
        if partner[i] >= 0:  # held by a spring to the cell that it has seized
            j = partner[i]
            vx += spring * (x[0, j] - px)
            vy += spring * (x[1, j] - py)
            vz += spring * (x[2, j] - pz)
        if movable[kind[i]]:
            push[0, i], push[1, i], push[2, i] = vx, vy, vz
        else:
            push[0, i] = push[1, i] = push[2, i] = 0.0


@kernel
def gradient(values: Any, mask: Any, s: int, px: float, py: float, pz: float, h: float) -> Any:
    """Central differences of substance s at a place, one-sided at faces and beside voxels outside the mask.

    ``values`` (substances, nz, ny, nx); ``mask`` (nz, ny, nx), or empty where all is tissue.
    """
    nz, ny, nx = values.shape[1], values.shape[2], values.shape[3]
    a, b, c = min(int(px / h), nx - 1), min(int(py / h), ny - 1), min(int(pz / h), nz - 1)
    a0, a1, b0, b1 = max(a - 1, 0), min(a + 1, nx - 1), max(b - 1, 0), min(b + 1, ny - 1)
    c0, c1 = max(c - 1, 0), min(c + 1, nz - 1)
    if mask.size > 0:
        a0, a1 = a0 if mask[c, b, a0] else a, a1 if mask[c, b, a1] else a
        b0, b1 = b0 if mask[c, b0, a] else b, b1 if mask[c, b1, a] else b
        c0, c1 = c0 if mask[c0, b, a] else c, c1 if mask[c1, b, a] else c
    gx = (values[s, c, b, a1] - values[s, c, b, a0]) / (h * max(a1 - a0, 1))
    gy = (values[s, c, b1, a] - values[s, c, b0, a]) / (h * max(b1 - b0, 1))
    gz = (values[s, c1, b, a] - values[s, c0, b, a]) / (h * max(c1 - c0, 1))
    return gx, gy, gz


@kernel
def _turn(i: int, seed: int, cell: int, step: int, x: Any, behaviour: Any, taxis: int, values: Any, mask: Any, h: float,
          flat: bool, heading: Any) -> None:  # fmt: skip
    """A new direction of motion: at random, drawn to the weighted gradients by the bias."""
    u = uniforms(seed, cell, step, MOVE)
    angle = 2.0 * np.pi * u[1]
    z = 0.0 if flat else 2.0 * u[2] - 1.0
    flatness = np.sqrt(max(1.0 - z * z, 0.0))
    hx, hy, hz = flatness * np.cos(angle), flatness * np.sin(angle), z
    bias = min(behaviour[BIAS, i], 1.0)
    if bias > 0.0:
        gx = gy = gz = 0.0
        for s in range(values.shape[0]):
            weight = behaviour[taxis + s, i]
            if weight != 0.0:
                a, b, c = gradient(values, mask, s, x[0, i], x[1, i], x[2, i], h)
                size = np.sqrt(a * a + b * b + c * c)
                if size > 0.0:
                    gx += weight * a / size
                    gy += weight * b / size
                    gz += weight * c / size
        size = np.sqrt(gx * gx + gy * gy + gz * gz)
        if size > 0.0:
            hx = (1.0 - bias) * hx + bias * gx / size
            hy = (1.0 - bias) * hy + bias * gy / size
            hz = (1.0 - bias) * hz + bias * gz / size
            size = max(np.sqrt(hx * hx + hy * hy + hz * hz), 1e-12)
            hx, hy, hz = hx / size, hy / size, hz / size
    heading[0, i], heading[1, i], heading[2, i] = hx, hy, hz


@kernel
def _tissue(px: float, py: float, pz: float, h: float, mask: Any) -> Any:
    """Whether a place in the box lies in the tissue."""
    a, b = min(int(px / h), mask.shape[2] - 1), min(int(py / h), mask.shape[1] - 1)
    return mask[min(int(pz / h), mask.shape[0] - 1), b, a]


@kernel
def _keep_out(i: int, old: Any, x: Any, velocity: Any, heading: Any, h: float, mask: Any) -> None:
    """Take back a step out of the tissue: along one axis if that is enough (the cell slides), else the whole step."""
    for a in range(3):
        beyond = x[a, i]
        x[a, i] = old[a]
        if beyond != old[a] and _tissue(x[0, i], x[1, i], x[2, i], h, mask):
            velocity[a, i] = 0.0
            heading[a, i] = -heading[a, i]
            return
        x[a, i] = beyond
    for a in range(3):
        x[a, i], velocity[a, i], heading[a, i] = old[a], 0.0, -heading[a, i]


@kernel
def advance(
    lo: int, hi: int, dt: float, step: int, seed: int, identity: Any, state: Any, partner: Any, x: Any, velocity: Any,
    heading: Any, push: Any, behaviour: Any, taxis: int, values: Any, h: float, size: Any, mask: Any,
) -> None:  # fmt: skip
    """Walk and step of cells lo … hi-1: Adams-Bashforth of second order, mirrored at the faces, kept in the mask.

    A new direction comes with probability ``1 - exp(-dt/persistence)`` a step, so that directions decorrelate as
    ``exp(-t/persistence)`` whatever the step.
    """
    flat = values.shape[1] == 1
    for i in range(lo, hi):
        speed = behaviour[SPEED, i]
        walks = speed > 0.0 and state[i] == 0 and partner[i] < 0
        if walks:
            lost = 1.0 - np.exp(-dt / max(behaviour[PERSISTENCE, i], 1e-9))
            fresh = heading[0, i] == 0.0 and heading[1, i] == 0.0 and heading[2, i] == 0.0
            if fresh or uniforms(seed, identity[i], step, MOVE)[0] < lost:
                _turn(i, seed, identity[i], step, x, behaviour, taxis, values, mask, h, flat, heading)
        old0, old1, old2 = x[0, i], x[1, i], x[2, i]
        for a in range(2 if flat else 3):
            v = push[a, i] + (speed * heading[a, i] if walks else 0.0)
            y = x[a, i] + dt * (1.5 * v - 0.5 * velocity[a, i])
            if y < 0.0:
                y, heading[a, i], v = -y, -heading[a, i], 0.0
            elif y > size[a]:
                y, heading[a, i], v = 2.0 * size[a] - y, -heading[a, i], 0.0
            x[a, i] = min(max(y, 0.0), size[a])
            velocity[a, i] = v
        if mask.size > 0 and not _tissue(x[0, i], x[1, i], x[2, i], h, mask):
            _keep_out(i, (old0, old1, old2), x, velocity, heading, h, mask)
