"""Local perfusion: how many of the capillaries near a voxel carry blood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from icans.tissue.agents.kernel import kernel

if TYPE_CHECKING:
    from icans.tissue.agents.model import Tissue


def perfusion_map(tissue: Tissue) -> npt.NDArray[np.float64]:
    """Part of the nearby capillaries (Gaussian weight, ``perfusion_um``) that are open, shape (voxels,); 1 without any.

    A voxel more than three times that length from every capillary is taken as fed by those that the nearest
    voxels have, that is 1 when none is within reach: the model does not draw all vessels of a tissue.
    """
    cells = tissue.cells
    vessel = tissue.table.vessel[cells["kind"]] & (cells["state"] == 0)
    x, opened = cells["x"][:, vessel], 1.0 - cells["plugged"][vessel].astype(float)
    out = np.ones(int(tissue.shape.prod()))
    _spread(x, opened, tissue.h, tissue.shape, tissue.steps.perfusion_um, out, np.zeros_like(out))
    return out


@kernel
def _spread(x: Any, opened: Any, h: float, shape: Any, length: float, out: Any, weight: Any) -> None:
    out[:] = 0.0
    nx, ny, nz = shape[0], shape[1], shape[2]
    span = int(3.0 * length / h) + 1
    for v in range(opened.size):
        a0, b0, c0 = int(x[0, v] / h), int(x[1, v] / h), int(x[2, v] / h)
        for c in range(max(c0 - span, 0), min(c0 + span + 1, nz)):
            for b in range(max(b0 - span, 0), min(b0 + span + 1, ny)):
                for a in range(max(a0 - span, 0), min(a0 + span + 1, nx)):
                    dx, dy = (a + 0.5) * h - x[0, v], (b + 0.5) * h - x[1, v]
                    dz = 0.0 if nz == 1 else (c + 0.5) * h - x[2, v]
                    w = np.exp(-0.5 * (dx * dx + dy * dy + dz * dz) / (length * length))
                    at = (c * ny + b) * nx + a
                    weight[at] += w
                    out[at] += w * opened[v]
    for at in range(out.size):
        out[at] = out[at] / weight[at] if weight[at] > 0.0 else 1.0
