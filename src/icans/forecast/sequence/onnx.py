"""Export of a fitted network to ONNX, and the check that another program computes the same.

What is exported is the network of one seed on encoded arrays (:class:`icans.forecast.sequence.batch.Batch` and the
offsets): logits of {none, event, competing} in each bin for a fixed number of rows and steps. Encoding, the mean over
seeds and the sum over bins stay outside; they are a few lines of any language. The hybrid, whose equations are compiled
from the patient model, is not exported: it belongs to that model's version.

Needs ``jax2onnx`` to export and ``onnxruntime`` to check.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from icans.core.files import atomic_path
from icans.forecast.inputs import Inputs
from icans.forecast.models.base import landmarks
from icans.forecast.sequence.engine import NUMPY, Engine, jax_engine, single_precision
from icans.forecast.sequence.network import competing_logits
from icans.forecast.sequence.rung import FittedSequence

#: Arrays in the order of the exported network's inputs.
ORDER = ("filled", "mask", "gap", "clock", "valid", "last_gap", "context", "experts", "start")


def export_onnx(fitted: FittedSequence, inputs: Inputs, path: Path | str, *, network: int = 0) -> float:
    """Write one network and check it on some rows.

    Parameters
    ----------
    fitted
        The model.
    inputs
        Rows whose number and whose longest record fix the shapes of the exported network; it is checked on them.
    path
        The file, ``.onnx``.
    network
        Which network of the ensemble.

    Returns
    -------
    float
        Largest difference of a logit between ONNX Runtime and this package.

    Raises
    ------
    ImportError
        ``jax2onnx`` or ``onnxruntime`` is not installed.
    ValueError
        The exported network does not compute the same.
    """
    import onnx
    import onnxruntime
    from jax2onnx import to_onnx

    arrays = arrays_of(fitted, inputs)
    names = [name for name in ORDER if arrays[name].size]
    empty = {name: arrays[name] for name in ORDER if not arrays[name].size}
    params = fitted.params[network]

    def logits(engine: Engine, values: tuple[Any, ...]) -> Any:
        batch = dict(zip(names, values, strict=True)) | empty
        return competing_logits(engine, fitted.network.scores_of(engine, params, batch), batch["start"])

    with single_precision():
        engine = jax_engine()
        shapes = [tuple(arrays[name].shape) for name in names]
        model = to_onnx(lambda *values: logits(engine, values), shapes, model_name=fitted.network.cell)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: it warns of every constant that the export left unused
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    nodes = [node.name for node in session.get_inputs()]
    difference = 0.0
    for factor in (1.0, 0.5):  # other values, too: what was traced must not have become a constant
        values = tuple(np.asarray(arrays[name] * np.float32(factor)) for name in names)
        theirs = session.run(None, dict(zip(nodes, values, strict=True)))[0]
        difference = max(difference, float(np.abs(np.asarray(theirs) - logits(NUMPY, values)).max()))
    if not difference < 1e-3:
        raise ValueError(f"the exported network differs by {difference:.2g} in a logit; nothing was written")
    with atomic_path(Path(path)) as temporary:
        onnx.save(model, str(temporary))
    return difference


def arrays_of(fitted: FittedSequence, inputs: Inputs) -> dict[str, Any]:
    """The arrays that an exported network takes, by name."""
    batch = fitted.encoding.batch(inputs)
    return batch.arrays() | {"start": fitted.grid.start(landmarks(inputs.table))}
