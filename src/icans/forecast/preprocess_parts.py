"""A fitted preparation (:mod:`icans.forecast.preprocess`) as JSON values and arrays, and back again exactly."""

from __future__ import annotations

from typing import Any

import numpy as np

from icans.forecast.models.parts import Arrays, Meta, Parts
from icans.forecast.preprocess import Preparation
from icans.forecast.preprocess_steps import (
    DropConstant,
    Indicate,
    LogSkewed,
    MedianImpute,
    OneHot,
    Select,
    Standardise,
    Winsor,
    YeoJohnson,
)

#: Step -> (arguments, learned JSON values, learned arrays).
STEPS: dict[type, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    Select: (("max_missing", "max_missing_static"), ("columns_", "dropped_"), ()),
    OneHot: (("min_share",), ("levels_",), ()),
    Indicate: ((), ("columns_",), ()),
    LogSkewed: (("skew",), ("offsets_",), ()),
    YeoJohnson: ((), (), ("mine_",)),
    Winsor: (("low", "high"), (), ("low_", "high_")),
    MedianImpute: ((), (), ("median_",)),
    DropConstant: ((), (), ("kept_",)),
    Standardise: ((), (), ("mean_", "sd_")),
}
_BY_NAME = {kind.__name__: kind for kind in STEPS}


def to_parts(pipeline: Preparation) -> Parts:
    """What a fitted preparation has learned.

    Raises
    ------
    TypeError
        A step of another kind, or a category that JSON cannot hold.
    """
    steps: list[Meta] = []
    arrays: Arrays = {}
    for label, step in pipeline.steps:
        if type(step) not in STEPS:
            raise TypeError(f"the step {type(step).__name__} cannot be saved as plain parts")
        arguments, values, numbers = STEPS[type(step)]
        learned = {name: _plain(getattr(step, name)) for name in values}
        steps.append(
            {
                "label": label,
                "step": type(step).__name__,
                "arguments": {name: getattr(step, name) for name in arguments},
                "learned": learned,
                "fitted": bool(getattr(step, "fitted_", False)),
            }
        )
        arrays |= {f"{label}.{name}": np.asarray(getattr(step, name)) for name in numbers}
        if isinstance(step, YeoJohnson):
            arrays[f"{label}.lambdas"] = np.asarray(step.power_.lambdas_, dtype=float)
    return {"steps": steps, "names": list(pipeline.names_)}, arrays


def from_parts(meta: Meta, arrays: Arrays) -> Preparation:
    """The preparation again.

    Raises
    ------
    KeyError
        A step that is not known, or values that are not there.
    """
    steps = []
    for entry in meta["steps"]:
        kind = _BY_NAME[entry["step"]]
        arguments, values, numbers = STEPS[kind]
        step = kind(**{name: entry["arguments"][name] for name in arguments})
        for name in values:
            setattr(step, name, entry["learned"][name])
        for name in numbers:
            setattr(step, name, arrays[f"{entry['label']}.{name}"])
        if isinstance(step, YeoJohnson):
            step.power_ = _power(arrays[f"{entry['label']}.lambdas"])
        if entry["fitted"]:
            step.fitted_ = True
        steps.append((entry["label"], step))
    pipeline = Preparation(steps)
    pipeline.names_ = list(meta["names"])
    return pipeline


def _power(lambdas: Any) -> Any:
    """A fitted Yeo-Johnson transformer, from its powers alone."""
    from sklearn.preprocessing import PowerTransformer

    power = PowerTransformer(standardize=False)
    power.lambdas_ = np.asarray(lambdas, dtype=float)
    power.n_features_in_ = len(power.lambdas_)
    return power


def _plain(value: Any) -> Any:
    """JSON values of what a step has learned."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(f"{value!r} cannot be written as JSON")
