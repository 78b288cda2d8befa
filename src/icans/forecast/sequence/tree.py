"""Trees of parameters as flat dictionaries of arrays or as one vector, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from icans.forecast.models.parts import Array, Arrays
from icans.forecast.sequence.engine import Params, Tensor

#: Path and shape of each array of a tree.
Layout = tuple[tuple[str, tuple[int, ...]], ...]


def flat(params: Params, at: str = "") -> Arrays:
    """``{"cell": {"in": {"w": ...}}}`` as ``{"cell.in.w": ...}``."""
    made: Arrays = {}
    for name, value in params.items():
        path = f"{at}.{name}" if at else name
        made |= flat(value, path) if isinstance(value, dict) else {path: np.asarray(value)}
    return made


def nested(arrays: Mapping[str, Array]) -> Params:
    """The inverse of :func:`flat`, in single precision."""
    tree: Params = {}
    for path, value in arrays.items():
        *above, name = path.split(".")
        place = tree
        for part in above:
            place = place.setdefault(part, {})
        if np.asarray(value).dtype.kind not in "fiub":
            raise TypeError(f"parameter {path} must be numbers; got {np.asarray(value).dtype}")
        place[name] = np.asarray(value, dtype=np.float32)
    return tree


def same_shape(params: Params, like: Params, at: str = "") -> None:
    """Raise ValueError unless two trees have the same names and shapes."""
    if set(params) != set(like):
        raise ValueError(f"parameters {at or 'of the network'}: {sorted(params)} instead of {sorted(like)}")
    for name, value in like.items():
        path = f"{at}.{name}" if at else name
        if isinstance(value, dict) != isinstance(params[name], dict):
            raise ValueError(f"parameter {path} is not what the network has there")
        if isinstance(value, dict):
            same_shape(params[name], value, path)
        elif np.shape(value) != np.shape(params[name]):
            raise ValueError(f"parameter {path} has shape {np.shape(params[name])} instead of {np.shape(value)}")


def ensemble_parts(params: Sequence[Params]) -> Arrays:
    """Parameters of several networks as arrays ``net<k>.<path>``."""
    return {f"net{k}.{name}": value for k, one in enumerate(params) for name, value in flat(one).items()}


def ensemble_from(arrays: Mapping[str, Array], networks: int, like: Params) -> tuple[Params, ...]:
    """The inverse of :func:`ensemble_parts`; ValueError unless each is of the shape of ``like``."""
    found = []
    for k in range(networks):
        start = f"net{k}."
        found.append(nested({n[len(start) :]: v for n, v in arrays.items() if n.startswith(start)}))
        same_shape(found[-1], like)
    return tuple(found)


def layout_of(params: Params) -> Layout:
    """Names and shapes of a tree's arrays, in the order of :func:`flat`."""
    return tuple((name, tuple(value.shape)) for name, value in flat(params).items())


def ravel(params: Params) -> NDArray[np.float32]:
    """All parameters one after the other."""
    return np.concatenate([np.ravel(value) for value in flat(params).values()]).astype(np.float32)


def unravel(vector: Tensor, layout: Layout) -> Params:
    """The tree whose :func:`ravel` is ``vector`` (of any array library)."""
    tree: Params = {}
    at = 0
    for path, shape in layout:
        size = math.prod(shape)
        *above, name = path.split(".")
        place = tree
        for part in above:
            place = place.setdefault(part, {})
        place[name] = vector[at : at + size].reshape(shape)
        at += size
    return tree


def decaying(layout: Layout) -> NDArray[np.float32]:
    """1 for weights, which are drawn to zero in training, 0 for offsets (arrays with one axis)."""
    return np.concatenate([np.full(math.prod(s), float(len(s) > 1)) for _, s in layout]).astype(np.float32)
