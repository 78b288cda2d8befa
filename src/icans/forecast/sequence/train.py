"""Training: AdamW, gradients clipped, dropout, early stopping on patients who were held out, several seeds.

A training step is compiled once for each kind of network and each shape of a batch, and shared by folds, seeds and
bootstrap refits. Rows are grouped by their number of steps, so that short records do not pay for long ones. The loss of
held-out patients is computed with NumPy, which needs no compilation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from icans.core.random import stream
from icans.forecast.sequence.batch import Batch
from icans.forecast.sequence.engine import NUMPY, Engine, Params, Tensor, jax, jax_engine, single_precision
from icans.forecast.sequence.tree import Layout, decaying, layout_of, ravel, unravel

Rows = NDArray[np.intp]
#: Numbers of steps to which the rows of a batch are cut or filled.
BUCKETS = (8, 16, 32, 64, 128, 256)
#: Networks here are small: further passes of the compiler take a third longer and make no step faster.
COMPILER = {"xla_backend_optimization_level": 1}


@dataclass(frozen=True, slots=True)
class TrainSpec:
    """Settings of training; defaults are those that ``docs/sequence-models.md`` explains.

    Parameters
    ----------
    rate, decay, clip
        Learning rate and weight decay of AdamW (Loshchilov 2019, arXiv 1711.05101), largest norm of a gradient.
    dropout
        Share of the inputs of the last dense layer left out at random in each training step.
    batch
        Rows in a training step.
    check_every, patience, max_updates
        The loss of held-out patients is looked at every so many steps; training stops when it has not fallen at
        ``patience`` looks, and keeps the best.
    seeds
        Networks trained from different starts, each with other patients held out; their probabilities are averaged
        (deep ensemble: Lakshminarayanan 2017, arXiv 1612.01474).
    held_out
        One in so many patients is held out for stopping.
    """

    rate: float = 3e-3
    decay: float = 0.05
    clip: float = 1.0
    dropout: float = 0.3
    batch: int = 256
    check_every: int = 10
    patience: int = 8
    max_updates: int = 600
    seeds: int = 2
    held_out: int = 5


class Learner(Protocol):
    """What is trained: parameters, and a loss of a batch (a hashable object, the key of the compiled step)."""

    def __hash__(self) -> int: ...

    def init(self, rng: np.random.Generator, data: dict[str, Any]) -> Params:
        """Starting parameters, given all training arrays."""
        ...

    def dropped(self, rng: np.random.Generator, rows: int, share: float) -> NDArray[np.float32]:
        """Factors of dropout for a batch."""
        ...

    def loss(self, engine: Engine, params: Params, batch: dict[str, Tensor], dropped: Any) -> Tensor:
        """Mean loss of the rows of a batch."""
        ...


@dataclass(frozen=True)
class Trained:
    """Parameters of the best step, how many steps that took, the loss of held-out patients there and at the start."""

    params: Params
    updates: int
    loss: float
    loss_start: float


def train(
    learner: Learner, batch: Batch, targets: dict[str, NDArray[Any]], inner: Rows, spec: TrainSpec, seed: int
) -> tuple[Trained, ...]:
    """Train one network for each seed.

    Parameters
    ----------
    learner
        Network and loss.
    batch, targets
        Encoded training rows, and arrays of the loss with the same rows.
    inner
        Fold of each row's patient, shape (n,); the network of seed s holds out fold ``s % folds``.
    spec, seed
        Settings; name of the random streams.

    Raises
    ------
    ImportError
        JAX and optax are not installed.
    """
    jax()
    folds = int(inner.max()) + 1
    found = []
    for number in range(spec.seeds):
        held = inner == number % folds
        found.append(_one(learner, batch, targets, np.flatnonzero(~held), np.flatnonzero(held), spec, seed + number))
    return tuple(found)


def _one(
    learner: Learner, batch: Batch, targets: dict[str, NDArray[Any]], mine: Rows, held: Rows, spec: TrainSpec, seed: int
) -> Trained:
    rng = stream(seed, "network")
    data = batch.arrays() | targets
    tree = learner.init(rng, {name: value[mine] for name, value in data.items()})
    layout = layout_of(tree)
    vector = ravel(tree)
    size = _batch_size(len(mine), spec.batch)
    asked = _judge(learner, batch, targets, held)
    with single_precision():
        update, start = _compiled(learner, layout, spec.rate, spec.decay, spec.clip)
        state = start(vector)
        first = best = asked(tree)
        kept, at, stale = vector, 0, 0
        for number, (rows, steps) in enumerate(_batches(batch, mine, size, rng), start=1):
            part = _taken(batch, targets, rows, steps)
            vector, state = update(vector, state, part, learner.dropped(rng, len(rows), spec.dropout))
            if number % spec.check_every:
                continue
            now = np.asarray(vector)
            loss = asked(unravel(now, layout))
            stale = stale + 1
            if loss < best:
                best, kept, at, stale = loss, now, number, 0
            if stale >= spec.patience or number >= spec.max_updates or not np.isfinite(loss):
                break
    return Trained(unravel(kept, layout), at, best, first)


def _judge(learner: Learner, batch: Batch, targets: dict[str, NDArray[Any]], held: Rows) -> Callable[[Params], float]:
    """The loss of held-out rows as a function of parameters, group by group of similar length."""
    groups = []
    for rows, steps in _grouped(batch, held):
        groups.append((len(rows), _taken(batch, targets, rows, steps)))
    total = max(sum(n for n, _ in groups), 1)

    def loss(params: Params) -> float:
        return float(sum(n * float(learner.loss(NUMPY, params, part, None)) for n, part in groups) / total)

    return loss


def _taken(batch: Batch, targets: dict[str, NDArray[Any]], rows: Rows, steps: int) -> dict[str, Any]:
    return batch.rows(rows, steps).arrays() | {name: value[rows] for name, value in targets.items()}


def _bucket(batch: Batch, rows: Rows) -> Rows:
    """Steps to which each row is cut: the smallest bucket that holds it, no more than the arrays have."""
    limit = batch.valid.shape[1]
    # A bucket costs seconds to compile: none for arrays that are short anyway.
    sizes = np.array([b for b in BUCKETS if 16 <= limit > b] + [limit])
    return np.asarray(sizes[np.searchsorted(sizes, batch.lengths[rows])], dtype=np.intp)


def _grouped(batch: Batch, rows: Rows) -> Iterator[tuple[Rows, int]]:
    bucket = _bucket(batch, rows)
    for steps in np.unique(bucket).tolist():
        yield rows[bucket == steps], int(steps)


def _batch_size(rows: int, wanted: int) -> int:
    size = wanted
    while size > 32 and size > rows:
        size //= 2
    return size


def _batches(batch: Batch, rows: Rows, size: int, rng: np.random.Generator) -> Iterator[tuple[Rows, int]]:
    """Batches without end. What is left over in a bucket goes to the next longer one, and the last is filled up."""
    bucket = _bucket(batch, rows)
    while True:
        made: list[tuple[Rows, int]] = []
        left = np.empty(0, dtype=np.intp)
        for steps in np.unique(bucket).tolist():
            pool = np.r_[left, rng.permutation(rows[bucket == steps])]
            full = len(pool) // size
            made += [(pool[k * size : (k + 1) * size], steps) for k in range(full)]
            left = pool[full * size :]
        if len(left):
            made.append((np.r_[left, rng.choice(rows, size - len(left))], int(bucket.max())))
        for k in rng.permutation(len(made)).tolist():
            yield made[k]


@lru_cache(maxsize=64)
def _compiled(
    learner: Learner, layout: Layout, rate: float, decay: float, clip: float
) -> tuple[Callable[..., Any], Callable[[Any], Any]]:
    """The compiled step and the start of the optimiser for one kind of network.

    Parameters travel as one vector: one set of operations of the optimiser to compile instead of one for each array.
    """
    import optax

    library, engine = jax(), jax_engine()
    rule = optax.chain(
        optax.clip_by_global_norm(clip),
        optax.scale_by_adam(),
        optax.add_decayed_weights(decay * decaying(layout)),
        optax.scale(-rate),
    )

    def update(vector: Tensor, state: Any, part: dict[str, Tensor], dropped: Tensor) -> tuple[Tensor, Any]:
        def loss(v: Tensor) -> Tensor:
            return learner.loss(engine, unravel(v, layout), part, dropped)

        moves, state = rule.update(library.grad(loss)(vector), state, vector)
        return vector + moves, state

    return library.jit(update, compiler_options=COMPILER), library.jit(rule.init)
