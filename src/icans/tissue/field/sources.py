"""Sources and sinks: per voxel dC/dt = production - loss C.

The linear form of BioFVM (Ghaffarizadeh 2016, 10.1093/bioinformatics/btv730): a cell that secretes towards a saturation
level S at rate r and takes up at rate u adds r S V_cell/V_voxel to production and (r + u) V_cell/V_voxel to loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icans.tissue.field.grid import Array, Grid, checked

#: pg per mL in a voxel of one um3 that one pg makes: 1 mL is 1e12 um3.
UM3_PER_ML = 1e12


@dataclass(frozen=True)
class Sources:
    """``production`` (pg/mL/min) and ``loss`` (1/min), each of shape (substances, voxels) or (substances, *shape)."""

    production: Array
    loss: Array

    def plus(self, other: Sources) -> Sources:
        """Both together."""
        shape = self.production.shape
        return Sources(
            self.production + other.production.reshape(shape), self.loss + other.loss.reshape(self.loss.shape)
        )


def no_sources(grid: Grid, substances: int) -> Sources:
    """Nothing is made and nothing lost; arrays to be filled."""
    return Sources(np.zeros((substances, grid.voxels)), np.zeros((substances, grid.voxels)))


def capillary_sources(
    grid: Grid, permeability_per_min: npt.ArrayLike, plasma: npt.ArrayLike, surface: npt.ArrayLike
) -> Sources:
    """Exchange with plasma through capillaries: dC/dt = PS s (C_p - C).

    Parameters
    ----------
    permeability_per_min
        Shape (substances,): exchange rate where ``surface`` is 1, 1/min, at the barrier's present state.
    plasma
        Shape (substances,): concentration in plasma, pg/mL.
    surface
        Shape of the grid: surface of perfused capillaries relative to the reference.
    """
    area = checked("surface", surface, grid.shape).reshape(-1)
    rate = np.asarray(permeability_per_min, float)
    loss = checked("permeability_per_min", rate, rate.shape)[:, None] * area
    level = checked("plasma", plasma, rate.shape)
    return Sources(loss * level[:, None], loss)


def secretion_pg_ml_min(grid: Grid, molecules_per_s: float, mass_kda: float, fluid_share: float = 0.2) -> float:
    """Rise of the concentration in a voxel's interstitial fluid that one secreting cell makes, pg/mL/min.

    Parameters
    ----------
    molecules_per_s
        Molecules that the cell releases each second.
    mass_kda
        Mass of a molecule, kDa (1 kDa = 1.66054e-9 pg).
    fluid_share
        Interstitial fluid, share of the tissue's volume (0.2; Sykova & Nicholson 2008, 10.1152/physrev.00027.2007).
    """
    pg_per_min = molecules_per_s * 60.0 * mass_kda * 1.66054e-9
    return pg_per_min / (grid.voxel_um3 * fluid_share / UM3_PER_ML)
