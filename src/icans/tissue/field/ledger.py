"""The books of a field: what was made, taken, lost and let through, in the very discretisation that a step uses.

Transport between voxels neither makes nor loses anything, so that a step of any scheme changes the sum over voxels by
``dt sum(gain) - sum(loss X)``, where X, the *exposure* (pg/mL min), is the time integral of the concentration as that
scheme sees it: ``dt C`` for forward Euler, the same recursion as the concentration's for Runge-Kutta-Legendre,
``dt (C + D/2)`` for the factored scheme with D the change before the sweeps along the axes (which keep the sum), and
closed integrals for the exact propagator. Nothing here is found by difference: that the books balance is a test of
both the step and the books.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from icans.tissue.field.explicit import legendre_weights, stages_for
from icans.tissue.field.grid import Array
from icans.tissue.field.operator import loss_parts
from icans.tissue.field.sources import Sources

if TYPE_CHECKING:
    from icans.tissue.field.field import Field

#: What goes in, and what goes out.
INTO, OUT_OF = ("made", "entered"), ("taken", "decayed", "washed_out", "left")


class Ledger:
    """What happened to each substance of a field since the books were opened; amounts in pg, shape (substances,).

    Attributes
    ----------
    made, taken
        By the sources and sinks that the steps were given (cells and vessels).
    entered, left
        Through fixed and exchange faces.
    decayed, washed_out
        By the substances' own decay, and with fluid that leaves along vessels.
    """

    def __init__(self, field: Field, fluid_share: float = 1.0) -> None:
        """Open the books of ``field`` as it is; ``fluid_share`` as in :meth:`Field.amounts_pg`."""
        self.fluid_share = fluid_share
        self.start = field.amounts_pg(fluid_share)
        none = np.zeros(len(field.substances))
        self.made, self.entered, self.taken = none.copy(), none.copy(), none.copy()
        self.decayed, self.washed_out, self.left = none.copy(), none.copy(), none.copy()
        self._parts = loss_parts(field.grid, field.substances, field.medium)

    def step(
        self, field: Field, dt_min: float, sources: Sources | tuple[Array, Array] | None = None, scheme: str = "auto"
    ) -> None:
        """Advance the field as :meth:`icans.tissue.field.field.Field.step` does, and keep the books.

        Raises
        ------
        ModelError
            What the step raises; nothing is booked then.
        """
        before = field.values.copy()
        field.step(dt_min, sources, scheme)
        after = field.values.copy()
        field.values[:] = before
        try:
            own, cells = exposures(field, dt_min, sources, scheme)
        finally:
            field.values[:] = after
        pg = field.grid.voxel_um3 * 1e-12 * self.fluid_share
        for name, rate in zip(("decayed", "washed_out", "left"), self._parts, strict=True):
            getattr(self, name)[:] += pg * (rate * own).sum(axis=1)
        self.entered += pg * dt_min * field.operator.gain.reshape(own.shape).sum(axis=1)
        if sources is not None:
            tissue = field.grid.tissue.reshape(-1)
            production, loss = (np.reshape(a, own.shape) * tissue for a in _pair(sources))
            self.made += pg * dt_min * production.sum(axis=1)
            self.taken += pg * (loss * cells).sum(axis=1)

    def expected_pg(self) -> Array:
        """What must be in the field now, pg, shape (substances,)."""
        into = sum((getattr(self, name) for name in INTO), self.start)
        return np.asarray(into - sum(getattr(self, name) for name in OUT_OF))

    def imbalance(self, field: Field) -> Array:
        """How far the field is from it, as a share of all that was there and came in; shape (substances,).

        0 where all of it is less than the smallest number of full precision, of which no share can be told.
        """
        moved = sum((getattr(self, name) for name in INTO), self.start)
        gap = np.abs(field.amounts_pg(self.fluid_share) - self.expected_pg())
        return np.asarray(np.divide(gap, moved, out=np.zeros_like(gap), where=moved >= np.finfo(float).tiny))


def exposures(
    field: Field, dt: float, sources: Sources | tuple[Array, Array] | None, scheme: str
) -> tuple[Array, Array]:
    """Exposure of a step from the field as it is, shape (substances, voxels): to its own losses, and to the sinks.

    The two differ for the exact propagator only, which takes them one after the other.
    """
    if scheme == "exact":
        return _exact(field, dt, sources)
    loss, gain = field.rates(sources)
    fastest = field.fastest(sources)
    made = np.empty_like(loss)
    for s, values in enumerate(field.values):
        c = values.reshape(-1).copy()
        if scheme == "euler":
            made[s] = dt * c
        elif scheme == "explicit":
            made[s] = _legendre(field, s, c, loss[s], gain[s], dt, stages_for(dt, float(fastest[s])))
        else:
            change = dt * _slope(field, s, c, loss[s], gain[s]) / (1 + 0.5 * dt * loss[s])
            made[s] = dt * (c + 0.5 * change)
    return made, made


def _slope(field: Field, s: int, c: Array, loss: Array, gain: Array) -> Array:
    from icans.tissue.field.kernels import slope

    result = np.empty_like(c)
    op = field.operator
    slope(c, loss, gain, op.uniform[s], field._out[s], field._back[s], op.shape, result)
    return result


def _legendre(field: Field, s: int, start: Array, loss: Array, gain: Array, dt: float, stages: int) -> Array:
    """The recursion of the stages for the concentration and, with the same weights, for its integral."""
    weights = legendre_weights(stages)
    initial = _slope(field, s, start, loss, gain)
    earlier, latest = start, start + weights[0, 3] * dt * initial
    sum_earlier, sum_latest = np.zeros_like(start), weights[0, 3] * dt * start
    for mu, nu, rest, present, early in weights[1:]:
        rate = _slope(field, s, latest, loss, gain)
        known = mu * latest + nu * earlier + rest * start
        sums = mu * sum_latest + nu * sum_earlier + dt * (present * latest + early * start)
        earlier, latest = latest, known + dt * (present * rate + early * initial)
        sum_earlier, sum_latest = sum_latest, sums
    return sum_latest


def _exact(field: Field, dt: float, sources: Sources | tuple[Array, Array] | None) -> tuple[Array, Array]:
    from icans.tissue.field.exact import exposure, propagate, propagator, react

    op = field.operator
    step = propagator(field.grid, field.substances, field.medium, dt, op.gain)
    own = exposure(field.grid, field.substances, field.medium, dt, op.gain)
    shape = (len(field.substances), field.grid.voxels)
    made, taken = np.zeros(shape), np.zeros(shape)
    for s, values in enumerate(field.values):
        c = values.reshape(op.shape).copy()
        if sources is None:
            made[s] = own(c, s).reshape(-1)
            continue
        production, loss = (np.reshape(a[s], op.shape) for a in _pair(sources))
        for half in (0, 1):
            taken[s] += _reacted(c, production, loss, dt / 2).reshape(-1)
            react(c, production, loss, dt / 2)
            if half == 0:
                made[s] = own(c, s).reshape(-1)
                c = propagate(c, step, s).copy()
    return made, taken


def _reacted(c: Array, production: Array, loss: Array, dt: float) -> Array:
    """Integral over ``dt`` of the solution of dC/dt = production - loss C."""
    x = loss * dt
    safe = np.where(x < 1e-3, 1.0, x)
    one = np.where(x < 1e-3, 1 - x / 2 * (1 - x / 3 * (1 - x / 4 * (1 - x / 5))), -np.expm1(-x) / safe)
    series = 0.5 * (1 - x / 3 * (1 - x / 4 * (1 - x / 5 * (1 - x / 6))))
    two = np.where(x < 1e-3, series, (1 - one) / safe)
    return np.asarray(dt * (c * one + dt * production * two))


def _pair(sources: Sources | tuple[Array, Array]) -> tuple[Array, Array]:
    return (sources.production, sources.loss) if isinstance(sources, Sources) else sources
