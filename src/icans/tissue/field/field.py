"""The state of all substances on a grid, and its steps through time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError
from icans.tissue.field.explicit import legendre_weights, refuse_unstable, stages_for
from icans.tissue.field.grid import Array, Grid, Medium, Substance, checked, problem
from icans.tissue.field.operator import Operator, operator
from icans.tissue.field.sources import Sources

#: Names of the schemes; ``auto`` picks ``explicit`` up to :data:`MANY` stages, else ``implicit``.
SCHEMES = ("auto", "euler", "explicit", "exact", "implicit")
MANY = 25


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
        self._work: tuple[Array, ...] = tuple(np.empty((5, *self.operator.shape)))

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
        loss, gain = self._rates(sources)
        fastest = self.operator.fastest + loss.reshape(len(loss), -1).max(axis=1)
        self._explicit(dt_min, loss, gain, fastest, scheme)
        self.time_min += dt_min

    def _rates(self, sources: Sources | tuple[Array, Array] | None) -> tuple[Array, Array]:
        """Loss and gain of everything but transport, shape (S, nz, ny, nx)."""
        op = self.operator
        if sources is None:
            return op.loss, op.gain
        made, lost = (sources.production, sources.loss) if isinstance(sources, Sources) else sources
        shape = (len(self.substances), *op.shape)
        loss = checked("sources.loss", np.asarray(lost, float), shape)
        gain = checked("sources.production", np.asarray(made, float), shape)
        tissue = self.grid.mask
        if tissue is not None:
            loss, gain = (np.where(tissue.reshape(op.shape), a, 0.0) for a in (loss, gain))
        return op.loss + loss, op.gain + gain

    def _explicit(self, dt: float, loss: Array, gain: Array, fastest: Array, scheme: str) -> None:
        from icans.tissue.field.kernels import legendre

        if scheme == "euler":
            refuse_unstable(dt, float(fastest.max()))
        op = self.operator
        for s, c in enumerate(self.values):
            weights = legendre_weights(1 if scheme == "euler" else stages_for(dt, float(fastest[s])))
            out, back = (op.out[:, s], op.back[:, s]) if op.general else (op.out[:, :, 0], op.back[:, :, 0])
            legendre(c.reshape(op.shape), loss[s], gain[s], op.uniform[s], out, back, dt, weights, *self._work[:3])
