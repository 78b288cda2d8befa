"""The two array libraries under which every network runs: JAX for training, NumPy for forecasts.

A cell calls ``engine.xp`` (``numpy`` or ``jax.numpy``) and ``engine.scan``; nothing else differs. Everything is single
precision: training switches double precision off for itself (:func:`single_precision`), whatever the rest of the
process has asked of JAX.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

#: Anything that the two libraries take for an array.
Tensor = Any
#: Parameters of a network: a nested dictionary whose leaves are arrays.
Params = dict[str, Any]


@dataclass(frozen=True)
class Engine:
    """An array library and its loop over the first axis.

    Attributes
    ----------
    xp
        ``numpy`` or ``jax.numpy``.
    scan
        ``scan(step, carry, xs) -> (carry, ys)`` with ``step(carry, x) -> (carry, y)``; ``xs`` is a tuple of arrays.
    """

    xp: Any
    scan: Callable[[Callable[[Any, Any], tuple[Any, Any]], Any, tuple[Tensor, ...]], tuple[Any, Tensor]]


def _loop(
    step: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: tuple[Tensor, ...]
) -> tuple[Any, Tensor]:  # fmt: skip
    outputs = []
    for k in range(len(xs[0])):
        carry, y = step(carry, tuple(x[k] for x in xs))
        outputs.append(y)
    return carry, np.stack(outputs) if outputs and outputs[0] is not None else None


NUMPY = Engine(np, _loop)


def jax() -> ModuleType:
    """The library JAX.

    Raises
    ------
    ImportError
        It is not installed; the message says how to get it.
    """
    try:
        import jax as library
        import optax  # noqa: F401 (both are needed for training)
    except ImportError as error:
        raise ImportError(
            "networks are trained with JAX and optax, which are not installed: install icans[deep] "
            "(a fitted network forecasts without them)"
        ) from error
    return library


def jax_engine() -> Engine:
    """The engine that can be differentiated and compiled."""
    library = jax()

    def scan(step: Any, carry: Any, xs: tuple[Tensor, ...]) -> tuple[Any, Tensor]:
        return library.lax.scan(step, carry, xs)

    return Engine(library.numpy, scan)


@contextmanager
def single_precision() -> Iterator[None]:
    """Single precision inside, whatever ``jax_enable_x64`` says outside."""
    with jax().enable_x64(False):
        yield


def sigmoid(xp: Any, x: Tensor) -> Tensor:
    """Logistic function, without overflow."""
    return 0.5 * (1.0 + xp.tanh(0.5 * x))


def relu(xp: Any, x: Tensor) -> Tensor:
    """Positive part."""
    return xp.maximum(x, 0.0)


def softplus(xp: Any, x: Tensor) -> Tensor:
    """ln(1 + e^x), without overflow."""
    return xp.logaddexp(x, xp.zeros_like(x))


def log_softmax(xp: Any, x: Tensor) -> Tensor:
    """Logarithm of the shares over the last axis."""
    top = x - xp.max(x, axis=-1, keepdims=True)
    return top - xp.log(xp.sum(xp.exp(top), axis=-1, keepdims=True))


def dense(layer: Params, x: Tensor) -> Tensor:
    """``x w + b`` over the last axis."""
    return x @ layer["w"] + layer["b"]


def dense_init(rng: np.random.Generator, inputs: int, outputs: int, scale: float = 1.0) -> Params:
    """Weights from a normal of variance 1 / inputs (LeCun 1998), offsets zero."""
    weights = rng.normal(size=(inputs, outputs)) * scale / np.sqrt(max(inputs, 1))
    return {"w": weights.astype(np.float32), "b": np.zeros(outputs, dtype=np.float32)}


def orthogonal(rng: np.random.Generator, size: int, blocks: int = 1) -> np.ndarray:
    """``blocks`` orthogonal matrices side by side, shape (size, blocks * size): recurrences that neither grow nor die.

    Saxe 2014, arXiv 1312.6120.
    """
    parts = [np.linalg.qr(rng.normal(size=(size, size)))[0] for _ in range(blocks)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def count(params: Params) -> int:
    """Number of parameters in a tree."""
    return sum(count(v) if isinstance(v, dict) else int(np.size(v)) for v in params.values())
