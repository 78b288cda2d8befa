"""Networks for what is not a time to an event: the grade (ordinal) and phenotypes (several labels) of a record.

Both read :class:`icans.forecast.inputs.Inputs` as the forecasting networks do. A landmark at the end of a stay makes
the whole stay visible, and then the cell that reads in both directions is allowed; ``smoothing=False`` (what is asked
lies ahead of the landmark) refuses it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.forecast.inputs import Inputs
from icans.forecast.models.parts import Arrays, Meta, Parts, child, join
from icans.forecast.sequence.cells import CAUSAL, CELLS, Shape
from icans.forecast.sequence.encode import EncodeSpec, Encoding, encoding_from, fit_encoding
from icans.forecast.sequence.engine import NUMPY, Engine, Params, Tensor, sigmoid
from icans.forecast.sequence.heads import cuts_init, label_loss, ordinal_cuts, ordinal_loss, ordinal_probability
from icans.forecast.sequence.network import Network, network_from
from icans.forecast.sequence.train import Rows, TrainSpec, train
from icans.forecast.sequence.tree import ensemble_from, ensemble_parts
from icans.forecast.tuning import patient_folds

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class WholeModel:
    """A network on records with an ordinal or a multi-label head.

    Parameters
    ----------
    cell, hidden, width, encode, train
        As in :class:`icans.forecast.sequence.rung.SequenceModel`.
    smoothing
        What is asked lies inside the record that is shown (a phenotype of the stay), so that reading it backward is
        right.

    Raises
    ------
    ValueError
        A cell that reads backward for something that lies ahead, or one that does not exist.
    """

    cell: str = "gru"
    smoothing: bool = False
    hidden: int = 16
    width: int = 16
    encode: EncodeSpec = field(default_factory=EncodeSpec)
    train: TrainSpec = field(default_factory=TrainSpec)

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise ValueError(f"no cell {self.cell!r}; there are {', '.join(CELLS)}")
        if self.cell not in CAUSAL and not self.smoothing:
            raise ValueError(f"cell {self.cell!r} reads records backward: only with smoothing=True, not for forecasts")

    def fit_grade(self, inputs: Inputs, grade: ArrayLike, grades: int = 5, seed: int = 0) -> FittedWhole:
        """Fit cumulative logits.

        Parameters
        ----------
        inputs
            Rows with their stream of events.
        grade
            Grade 0 .. grades - 1 of each row, NaN where it is not known, shape (n,).

        Raises
        ------
        NotEstimableError
            Fewer than two grades occur, or too few patients.
        """
        value = np.asarray(grade, dtype=float)
        known = ~np.isnan(value)
        top = np.where(known, value, 0).astype(int)
        if known.sum() == 0 or len(np.unique(top[known])) < 2:
            raise NotEstimableError(f"{int(known.sum())} known grades with fewer than two different values")
        onehot = np.eye(grades, dtype=np.float32)[top]
        share = (onehot[known].sum(axis=0) + 0.5) / (known.sum() + 0.5 * grades)
        names = tuple(f"grade {g}" for g in range(grades))
        start = tuple(float(c) for c in cuts_init(grades, share))
        targets = {"grade": onehot, "weight": known.astype(np.float32)}
        return self._fit(inputs, "ordinal", names, start, targets, known, seed)

    def fit_labels(self, inputs: Inputs, labels: pd.DataFrame, seed: int = 0) -> FittedWhole:
        """Fit a logistic for each label.

        Parameters
        ----------
        inputs
            Rows with their stream of events.
        labels
            0/1 (NaN: not known), one column a label, the same rows.

        Raises
        ------
        NotEstimableError
            A label that has one value only (named), or too few patients.
        """
        value = labels.to_numpy(dtype=float)
        known = ~np.isnan(value)
        single = [c for c, name in enumerate(labels) if len(np.unique(value[known[:, c], c])) < 2]
        if single:
            raise NotEstimableError(f"labels with fewer than two values: {[labels.columns[c] for c in single]}")
        share = (np.nansum(value, axis=0) + 0.5) / (known.sum(axis=0) + 1.0)
        start = tuple(float(x) for x in np.log(share / (1 - share)))
        targets = {"label": np.nan_to_num(value).astype(np.float32), "known": known.astype(np.float32)}
        return self._fit(inputs, "labels", tuple(map(str, labels)), start, targets, known.any(axis=1), seed)

    def _fit(
        self, inputs: Inputs, head: str, names: tuple[str, ...], start: tuple[float, ...],
        targets: dict[str, NDArray[Any]], known: NDArray[np.bool_], seed: int,
    ) -> FittedWhole:  # fmt: skip
        if len(known) != len(inputs):
            raise ValueError(f"{len(known)} targets for {len(inputs)} rows")
        rows = np.flatnonzero(known)
        seen = inputs[rows]
        inner = _inner(seen, self.train.held_out, seed)
        encoding = fit_encoding(seen, self.encode)
        batch = encoding.batch(seen)
        shape = Shape(len(encoding.channels), batch.experts.shape[1], self.hidden)
        scores = 1 if head == "ordinal" else len(names)
        network = Network(self.cell, shape, batch.context.shape[1], self.width, scores=scores, repeats=1)
        learner = WholeLearner(network, head, start)
        found = train(learner, batch, {k: v[rows] for k, v in targets.items()}, inner, self.train, seed)
        return FittedWhole(encoding, learner, names, tuple(t.params for t in found))


def _inner(inputs: Inputs, folds: int, seed: int) -> Rows:
    patient = inputs.table.index.get_level_values("patient_id")
    ids = pd.Series(0, index=pd.Index(sorted(set(patient))))
    if len(ids) < 4:
        raise NotEstimableError(f"{len(ids)} patients with a known target: too few to choose when to stop training")
    fold = patient_folds(ids, min(folds, len(ids)), stream(seed, "inner folds"))
    return np.asarray(fold.reindex(patient).to_numpy(dtype=np.intp))


@dataclass(frozen=True)
class WholeLearner:
    """A network with an ordinal or multi-label loss; ``start``: cuts or log odds of everybody."""

    network: Network
    head: str
    start: tuple[float, ...]

    def init(self, rng: np.random.Generator, data: dict[str, Any]) -> Params:
        """Starting parameters: without the record, everybody has the observed shares."""
        return self.network.init(rng) | {"start": np.array(self.start, dtype=np.float32)}

    def dropped(self, rng: np.random.Generator, rows: int, share: float) -> NDArray[np.float32]:
        """Factors of dropout."""
        return self.network.dropped(rng, rows, share)

    def loss(self, engine: Engine, params: Params, batch: dict[str, Tensor], dropped: Any) -> Tensor:
        """Mean negative log-likelihood."""
        scores = self.network.scores_of(engine, params, batch, dropped)[:, 0]
        if self.head == "ordinal":
            cuts = ordinal_cuts(engine.xp, params["start"])
            return ordinal_loss(engine.xp, scores[:, 0], cuts, batch["grade"], batch["weight"])
        return label_loss(engine.xp, scores + params["start"], batch["label"], batch["known"])

    def probability(self, params: Params, batch: dict[str, Tensor]) -> Floats:
        """P(each grade) or P(each label), shape (n, names)."""
        scores = self.network.scores_of(NUMPY, params, batch)[:, 0].astype(np.float64)
        start = np.asarray(params["start"], dtype=np.float64)
        if self.head == "ordinal":
            return np.asarray(ordinal_probability(np, scores[:, 0], ordinal_cuts(np, start)))
        return np.asarray(sigmoid(np, scores + start))


@dataclass(frozen=True)
class FittedWhole:
    """Trained networks.

    Attributes
    ----------
    encoding, learner
        How the stream is read; network and head.
    names
        What the columns of :meth:`predict` are.
    params
        Parameters of each network of the ensemble.
    """

    encoding: Encoding
    learner: WholeLearner
    names: tuple[str, ...]
    params: tuple[Params, ...]

    def predict(self, inputs: Inputs) -> pd.DataFrame:
        """Probability of each grade (they add up to 1) or label (each on its own), mean over the ensemble."""
        arrays = self.encoding.batch(inputs).arrays()
        mean = np.mean([self.learner.probability(p, arrays) for p in self.params], axis=0)
        return pd.DataFrame(mean, index=inputs.table.index, columns=list(self.names))

    def to_parts(self) -> Parts:
        """Plain parts."""
        meta: Meta = {"kind": "sequence_whole", "network": self.learner.network.meta(), "head": self.learner.head}
        meta |= {"start": list(self.learner.start), "names": list(self.names), "networks": len(self.params)}
        return join(meta, ensemble_parts(self.params), encoding=self.encoding.to_parts())


def from_parts(meta: Meta, arrays: Arrays) -> FittedWhole:
    """The model again."""
    start = tuple(float(x) for x in meta["start"])
    learner = WholeLearner(network_from(meta["network"]), str(meta["head"]), start)
    params = ensemble_from(arrays, int(meta["networks"]), learner.init(np.random.default_rng(0), {}))
    encoding = encoding_from(*child(meta, arrays, "encoding"))
    return FittedWhole(encoding, learner, tuple(map(str, meta["names"])), params)
