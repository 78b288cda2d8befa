"""The state of all substances on a grid, and its steps through time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError
from icans.tissue.field.explicit import legendre_weights, refuse_unstable, stages_for
from icans.tissue.field.grid import Array, Grid, Medium, Substance, checked, problem
from icans.tissue.field.operator import Operator, operator
from icans.tissue.field.sources import Sources

if TYPE_CHECKING:
    from icans.tissue.field.exact import Propagator
    from icans.tissue.field.implicit import Factors

#: Names of the schemes; ``auto`` is ``implicit``, which has the smallest error at equal cost.
SCHEMES = ("auto", "euler", "explicit", "exact", "implicit")


class Field:
    """Concentrations of several substances, pg/mL of interstitial fluid.

    Parameters
    ----------
    grid, substances
        Where and what.
    values
        Shape (substances, *grid.shape), or one number per substance; copied. Voxels outside the mask are set to 0.
    medium
        Heterogeneous diffusion, flow, faces; default: uniform, still, closed.

    Raises
    ------
    ModelError
        No substance, a name used twice, values of another grid, negative or not finite.
    """

    def __init__(
        self,
        grid: Grid,
        substances: Sequence[Substance],
        values: npt.ArrayLike = 0.0,
        medium: Medium | None = None,
    ) -> None:
        names = [s.name for s in substances]
        if not names or len(set(names)) < len(names):
            raise ModelError([problem("substances", names, "at least one, each name once", "Mend the list.")])
        self.grid, self.substances, self.medium = grid, tuple(substances), medium or Medium()
        given = np.asarray(values, float)
        if given.ndim == 1 and given.size == len(names):
            given = given.reshape(-1, *(1,) * grid.dimensions)
        self.values: Array = checked("values", given, (len(names), *grid.shape)).copy()
        self.values[:, ~grid.tissue] = 0.0
        self.time_min = 0.0
        self.operator: Operator = operator(grid, self.substances, self.medium)
        voxels, count = grid.voxels, len(names)
        self._base = tuple(a.reshape(count, voxels) for a in (self.operator.loss, self.operator.gain))
        op = self.operator
        self._out, self._back = (
            np.ascontiguousarray(np.moveaxis(a, 1, 0)).reshape(a.shape[1], 3, -1)
            if op.general
            else np.empty((count, 3, 0))
            for a in (op.out, op.back)
        )
        self._tissue = grid.tissue.reshape(-1).astype(float)
        self._total = np.zeros((2, count, voxels))
        self._work = np.zeros((3, voxels))
        self._prepared: dict[tuple[str, float], Factors | Propagator] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the substances."""
        return tuple(s.name for s in self.substances)

    def of(self, name: str) -> Array:
        """The concentrations of one substance (a view, shape ``grid.shape``)."""
        return self.values[self.names.index(name)]

    def amounts_pg(self, fluid_share: float = 1.0) -> Array:
        """Mass of each substance in the box, pg, shape (substances,), where fluid is that share of the tissue."""
        total: Array = self.values.reshape(len(self.substances), -1).sum(axis=1)
        return total * self.grid.voxel_um3 * 1e-12 * fluid_share

    def step(self, dt_min: float, sources: Sources | tuple[Array, Array] | None = None, scheme: str = "auto") -> None:
        """Advance by ``dt_min`` minutes, with sources and sinks that stay as they are meanwhile.

        Parameters
        ----------
        dt_min
            Step, min.
        sources
            Per voxel, dC/dt = production - loss C; see :class:`icans.tissue.field.sources.Sources`.
        scheme
            ``euler`` (forward Euler, refused where unstable), ``explicit`` (Runge-Kutta-Legendre, second order),
            ``exact`` (propagator; uniform boxes), ``implicit`` (factored, second order), ``auto``.

        Raises
        ------
        ModelError
            An unstable step (with the step needed), an unknown scheme, sources of another grid or negative.
        """
        if scheme not in SCHEMES:
            raise ModelError([problem("scheme", scheme, f"one of {SCHEMES}", "Choose one of them.")])
        if not (np.isfinite(dt_min) and dt_min > 0):
            raise ModelError([problem("dt_min", dt_min, "a positive number of minutes", "Mend the step.")])
        if scheme == "exact":
            self._exact(dt_min, sources)
        else:
            self._local(dt_min, sources, scheme)
        self.time_min += dt_min

    def rates(self, sources: Sources | tuple[Array, Array] | None = None) -> tuple[Array, Array]:
        """Loss (1/min) and gain (pg/mL/min) of everything but transport, shape (substances, voxels).

        Raises
        ------
        ModelError
            Sources of another grid, negative or not finite.
        """
        loss, gain, _ = self._rates(sources)
        return loss.copy(), gain.copy()

    def fastest(self, sources: Sources | tuple[Array, Array] | None = None) -> Array:
        """Bound of the fastest rate of each substance, 1/min, shape (substances,)."""
        return self._rates(sources)[2]

    def _rates(self, sources: Sources | tuple[Array, Array] | None) -> tuple[Array, Array, Array]:
        """Loss, gain and a bound of the fastest rate; views of work space where there are sources."""
        if sources is None:
            return *self._base, self.operator.fastest + self._base[0].max(axis=1)
        from icans.tissue.field.kernels import total

        pair = (sources.loss, sources.production) if isinstance(sources, Sources) else (sources[1], sources[0])
        largest = np.zeros((2, len(self.substances)))
        for k, (name, given) in enumerate(zip(("loss", "production"), pair, strict=True)):
            added = self._flat(f"sources.{name}", given)
            for s, row in enumerate(added):
                largest[k, s] = total(self._base[k][s], row, self._tissue, self._total[k, s])
                if largest[k, s] < 0:
                    checked(f"sources.{name} of {self.names[s]}", row, row.shape)
        return self._total[0], self._total[1], self.operator.fastest + largest[0]

    def _flat(self, name: str, given: npt.ArrayLike) -> Array:
        array = np.ascontiguousarray(given, float)
        if array.shape not in ((len(self.substances), self.grid.voxels), self.values.shape):
            raise ModelError([problem(name, array.shape, f"shape {(len(self.substances), self.grid.voxels)}",
                                      "It belongs to another grid or another list of substances.")])  # fmt: skip
        return array.reshape(len(self.substances), -1)

    def _local(self, dt: float, sources: Sources | tuple[Array, Array] | None, scheme: str) -> None:
        """Schemes that go from voxel to voxel."""
        from icans.tissue.field import kernels, sweeps

        loss, gain, fastest = self._rates(sources)
        if scheme == "euler":
            refuse_unstable(dt, float(fastest.max()))
        op = self.operator
        for s, values in enumerate(self.values):
            c = values.reshape(-1)
            given = (c, loss[s], gain[s], op.uniform[s], self._out[s], self._back[s], op.shape, dt)
            if scheme == "euler":
                kernels.euler(*given, self._work)
            elif scheme in ("implicit", "auto"):
                made = self._factors(dt)
                sweeps.factored(*given, made.lower[s], made.upper[s], made.pivot[s], self._work)
            else:
                kernels.legendre(*given, legendre_weights(stages_for(dt, float(fastest[s]))), self._work)

    def _factors(self, dt: float) -> Factors:
        from icans.tissue.field.implicit import Factors, factors

        made = self._prepared.get(("implicit", dt))
        if not isinstance(made, Factors):
            self._prepared = {k: v for k, v in self._prepared.items() if k[0] != "implicit"}
            made = self._prepared[("implicit", dt)] = factors(self.operator, dt)
        return made

    def _exact(self, dt: float, sources: Sources | tuple[Array, Array] | None) -> None:
        from icans.tissue.field.exact import Propagator, propagate, propagator, react

        made = self._prepared.get(("exact", dt))
        if not isinstance(made, Propagator):
            self._prepared = {k: v for k, v in self._prepared.items() if k[0] != "exact"}
            made = propagator(self.grid, self.substances, self.medium, dt, self.operator.gain)
            self._prepared[("exact", dt)] = made
        if sources is not None:
            self._rates(sources)  # refuses what is wrong
        pair = (sources.production, sources.loss) if isinstance(sources, Sources) else sources
        for s, values in enumerate(self.values):
            c = values.reshape(self.operator.shape)
            if pair is None:
                c[:] = propagate(c, made, s)
                continue
            production, loss = (np.reshape(a[s], c.shape) for a in pair)
            react(c, production, loss, dt / 2)
            c[:] = propagate(c, made, s)
            react(c, production, loss, dt / 2)
