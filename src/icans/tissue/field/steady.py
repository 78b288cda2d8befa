"""Steady states, from one sparse linear system per substance: solved directly in 2-D, by BiCGStab in 3-D."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from icans.core.errors import ModelError, NotEstimableError
from icans.tissue.field.grid import Array, problem
from icans.tissue.field.implicit import varying

if TYPE_CHECKING:
    from icans.tissue.field.field import Field
    from icans.tissue.field.sources import Sources


def steady_state(field: Field, sources: Sources | tuple[Array, Array] | None = None) -> Array:
    """Concentrations at which nothing changes any more, shape (substances, *grid.shape), pg/mL.

    Raises
    ------
    ModelError
        A substance that nothing removes has no steady state.
    NotEstimableError
        The iteration did not arrive.
    """
    from scipy.sparse import diags_array
    from scipy.sparse.linalg import bicgstab, spsolve

    loss, gain = field.rates(sources)
    op = field.operator
    out, back = varying(op)
    n = int(np.prod(op.shape))
    result = np.zeros((len(field.substances), n))
    tissue = field.grid.tissue.reshape(-1)
    strides = (op.shape[1] * op.shape[2], op.shape[2], 1)
    for s, substance in enumerate(field.substances):
        if not loss[s].any():
            raise ModelError([problem(substance.name, "no loss", "decay, a sink or an open face",
                                      "Nothing removes the substance: it has no steady state.")])  # fmt: skip
        diagonal = loss[s] + np.where(tissue, 0.0, 1.0)
        bands, offsets = [], []
        for axis, stride in enumerate(strides):
            if op.shape[axis] == 1:
                continue
            o, b = out[axis, s].reshape(-1), back[axis, s].reshape(-1)
            diagonal = diagonal + o
            diagonal[stride:] += b[:-stride]
            bands += [-o[: n - stride], -b[: n - stride]]
            offsets += [-stride, stride]
        matrix = diags_array([diagonal, *bands], offsets=[0, *offsets], format="csc")
        if field.grid.dimensions == 2:
            result[s] = spsolve(matrix, gain[s])
            continue
        scaling = diags_array([1 / diagonal], offsets=[0])
        result[s], failed = bicgstab(matrix, gain[s], rtol=1e-11, atol=0.0, maxiter=20_000, M=scaling)
        if failed:
            raise NotEstimableError(f"the steady state of {substance.name} was not reached in 20,000 iterations")
    return result.reshape(field.values.shape)
