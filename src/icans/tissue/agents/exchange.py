"""What cells give to and take from the field, in the linear form that the field treats implicitly.

Per voxel dC/dt = production - loss C. A cell of volume V in a voxel of volume W, whose interstitial fluid is ``fluid``
(um3), adds V/W S T to production and V/W (S + U) to loss (BioFVM: Ghaffarizadeh et al. 2016,
DOI 10.1093/bioinformatics/btv730), an export in pg/min over the fluid, and, for a vessel, exchange with plasma
PS (C_p - C) over the fluid while blood flows in it.
"""

from __future__ import annotations

from typing import Any

from icans.tissue.agents.kernel import kernel

#: um3 in a mL.
UM3_PER_ML = 1e12


@kernel
def cell_rates(
    lo: int, hi: int, substances: int, first: int, volume: Any, plugged: Any, plasma: Any, voxel_um3: float,
    fluid_um3: float, behaviour: Any, made: Any, lost: Any,
) -> None:  # fmt: skip
    """Production (pg/mL/min) and loss (1/min) that each of cells lo … hi-1 adds to its voxel: (substances, room).

    ``first`` is the row of the first substance's secretion; targets, uptake, export and exchange follow in blocks.
    """
    for s in range(substances):
        secretion, target, uptake = first + s, first + substances + s, first + 2 * substances + s
        export, exchange = first + 3 * substances + s, first + 4 * substances + s
        for i in range(lo, hi):
            share = volume[i] / voxel_um3
            open_ps = 0.0 if plugged[i] else behaviour[exchange, i] / fluid_um3
            gives = behaviour[secretion, i] * share
            made[s, i] = gives * behaviour[target, i] + behaviour[export, i] * UM3_PER_ML / fluid_um3
            made[s, i] += open_ps * plasma[s]
            lost[s, i] = gives + behaviour[uptake, i] * share + open_ps


@kernel
def voxels_of(lo: int, hi: int, x: Any, h: float, shape: Any, voxel: Any) -> None:
    """Flat index of the voxel of cells lo … hi-1 in (z, y, x) order; shape is (nx, ny, nz)."""
    for i in range(lo, hi):
        a = min(max(int(x[0, i] / h), 0), shape[0] - 1)
        b = min(max(int(x[1, i] / h), 0), shape[1] - 1)
        c = min(max(int(x[2, i] / h), 0), shape[2] - 1)
        voxel[i] = (c * shape[1] + b) * shape[0] + a


@kernel
def deposit(lo: int, hi: int, n: int, voxel: Any, made: Any, lost: Any, production: Any, loss: Any) -> None:
    """Sum the cells' rates of substances lo … hi-1 over voxels, in the order of the cells: (substances, voxels)."""
    for s in range(lo, hi):
        production[s, :] = 0.0
        loss[s, :] = 0.0
        for i in range(n):
            production[s, voxel[i]] += made[s, i]
            loss[s, voxel[i]] += lost[s, i]
