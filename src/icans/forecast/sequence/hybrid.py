"""The hybrid of mechanism and network as a model of the ladder (see :mod:`icans.forecast.sequence.hybrid_net`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError
from icans.forecast.inputs import Inputs
from icans.forecast.models.base import as_horizon, check_aligned, fitted_for, landmarks
from icans.forecast.models.parts import Arrays, Meta, Parts, child, floats, horizons_in, horizons_out, join
from icans.forecast.outcomes import Horizon
from icans.forecast.ridge import log_odds
from icans.forecast.sequence.batch import Batch
from icans.forecast.sequence.cells import Shape
from icans.forecast.sequence.encode import EncodeSpec, Encoding, encoding_from, fit_encoding, observed
from icans.forecast.sequence.engine import NUMPY, Params, count
from icans.forecast.sequence.heads import Grid, probabilities, targets
from icans.forecast.sequence.hybrid_net import OBSERVED, HybridNet, net_from, place
from icans.forecast.sequence.reduced import KEPT, STEP_H, reduced
from icans.forecast.sequence.rung import OCCLUSION_EDGE, occlusion
from icans.forecast.sequence.train import TrainSpec, train
from icans.forecast.sequence.tree import ensemble_from, ensemble_parts
from icans.forecast.tuning import inner_folds

Floats = NDArray[np.float64]

#: Fewer measured analytes than this say too little about eight states.
MIN_MEASURED = 2


@dataclass(frozen=True)
class HybridModel:
    """A small part of the patient model, corrected by a network, with random effects read from the record.

    Parameters
    ----------
    hidden, width, encode, train
        As in :class:`icans.forecast.sequence.rung.SequenceModel`.
    corrected
        False: the equations stay those of the patient model.
    share
        Weight of the misfit of the analytes against the loss of the outcome.
    """

    hidden: int = 12
    width: int = 12
    encode: EncodeSpec = field(default_factory=EncodeSpec)
    train: TrainSpec = field(default_factory=lambda: TrainSpec(batch=128, max_updates=400, check_every=20, patience=5))
    corrected: bool = True
    share: float = 0.05

    #: Asks for the stream of events (:class:`icans.forecast.ladder.Rung`).
    uses_history = True

    def fit(
        self, table: pd.DataFrame | Inputs, outcome: pd.DataFrame, horizons: Sequence[Horizon], seed: int = 0
    ) -> FittedHybrid:
        """Fit to stacked risk sets; see :meth:`icans.forecast.models.base.Forecaster.fit`.

        Raises
        ------
        NotEstimableError
            Fewer than two of the analytes that the mechanism has are measured, or fewer than two patients have an
            event.
        """
        inputs = Inputs.of(table)
        check_aligned(inputs.table, outcome)
        inner, _ = inner_folds(outcome, self.train.held_out, seed, "when to stop training")
        encoding = fit_encoding(inputs, self.encode)
        measured = tuple(name for name in OBSERVED if name in encoding.channels)
        if len(measured) < MIN_MEASURED:
            raise NotEstimableError(
                f"the mechanism needs {MIN_MEASURED} of {', '.join(n.removeprefix('lab.') for n in OBSERVED)}; "
                f"the cohort has {[n.removeprefix('lab.') for n in measured]}"
            )
        batch, grid = encoding.batch(inputs), Grid.fit(outcome, horizons)
        shape = Shape(len(encoding.channels), batch.experts.shape[1], self.hidden)
        net = HybridNet(shape, batch.context.shape[1], self.width, measured, self.corrected, self.share)
        arrays = _outcome(outcome, grid) | _measured(inputs, measured, self.encode) | _rows(inputs, grid)
        found = train(net, batch, arrays, inner, self.train, seed)
        told = {f"updates_{k}": float(t.updates) for k, t in enumerate(found)}
        told |= {"inner_loss": float(np.mean([t.loss for t in found])),
                 "inner_loss_start": float(np.mean([t.loss_start for t in found]))}  # fmt: skip
        return FittedHybrid(encoding, net, grid, tuple(t.params for t in found), tuple(horizons), told)


def _outcome(outcome: pd.DataFrame, grid: Grid) -> dict[str, NDArray[Any]]:
    known, cause = targets(outcome["time_h"], outcome["event"], grid.edges)
    return {"known": known.astype(np.float32), "cause": np.eye(3, dtype=np.float32)[cause],
            "weight": np.ones(len(outcome), dtype=np.float32)}  # fmt: skip


def _measured(inputs: Inputs, measured: Sequence[str], spec: EncodeSpec) -> dict[str, NDArray[Any]]:
    value, mask, before = observed(inputs, measured, spec)
    positive = mask * (value > 0)
    logs = np.log(np.where(positive > 0, value, 1.0)).astype(np.float32)
    at = place(inputs.at_h[:, None] - before)
    return {"seen": logs, "seen_mask": positive.astype(np.float32), "seen_at": at}


def _rows(inputs: Inputs, grid: Grid) -> dict[str, NDArray[Any]]:
    middle = (grid.edges + np.r_[0.0, grid.edges[:-1]]) / 2.0
    return {"start": grid.start(landmarks(inputs.table)), "bins": place(inputs.at_h[:, None] + middle)}


@dataclass(frozen=True)
class FittedHybrid:
    """Trained hybrid networks; attributes as in :class:`icans.forecast.sequence.rung.FittedSequence`."""

    encoding: Encoding
    network: HybridNet
    grid: Grid
    params: tuple[Params, ...]
    horizons: tuple[Horizon, ...]
    told: dict[str, float]

    @property
    def parameters(self) -> int:
        """Parameters of one network."""
        return count(self.params[0])

    def predict(self, table: pd.DataFrame | Inputs, horizon: Horizon | float) -> Floats:
        """Probability of the event within the horizon, mean over the ensemble, shape (n,)."""
        return self.each(table, horizon).mean(axis=0)

    def each(self, table: pd.DataFrame | Inputs, horizon: Horizon | float) -> Floats:
        """Probability of the event by each network of the ensemble, shape (networks, n)."""
        fitted_for(dict.fromkeys(self.horizons, True), horizon)
        inputs = Inputs.of(table)
        at = landmarks(inputs.table)
        return self._risks(_rows(inputs, self.grid), at, self.encoding.batch(inputs), [as_horizon(horizon)])[..., 0]

    def risks(self, table: pd.DataFrame | Inputs) -> Floats:
        """Probability of the event within every fitted horizon, shape (n, horizons): the equations are run once."""
        inputs = Inputs.of(table)
        batch, at = self.encoding.batch(inputs), landmarks(inputs.table)
        return self._risks(_rows(inputs, self.grid), at, batch, self.horizons).mean(axis=0)

    def _risks(self, rows: dict[str, NDArray[Any]], at: Floats, batch: Batch, horizons: Sequence[Horizon]) -> Floats:
        """Shape (networks, n, horizons)."""
        arrays = batch.arrays() | rows
        chance = [probabilities(self.network.logits(NUMPY, p, arrays)) for p in self.params]
        return np.stack([np.stack([self.grid.risk(c, at, h) for h in horizons], axis=1) for c in chance])

    def effects(self, table: pd.DataFrame | Inputs) -> pd.DataFrame:
        """Random effects of each row in units of their SDs, mean over the ensemble."""
        inputs = Inputs.of(table)
        arrays = self.encoding.batch(inputs).arrays()
        mean = np.mean([self.network.effects(NUMPY, p, arrays) for p in self.params], axis=0)
        return pd.DataFrame(mean, index=inputs.table.index, columns=list(reduced().effects))

    def courses(self, table: pd.DataFrame | Inputs) -> pd.DataFrame:
        """Courses of the kept states from the infusion on, as known at each row's landmark (geometric mean).

        Returns
        -------
        DataFrame
            Indexed (patient_id, landmark_h, time_h), one column a state.
        """
        inputs = Inputs.of(table)
        arrays = self.encoding.batch(inputs).arrays()
        logs = [self.network.courses(NUMPY, p, self.network.effects(NUMPY, p, arrays)) for p in self.params]
        made = np.exp(np.mean(logs, axis=0))
        index = [(*row, STEP_H * k) for row in inputs.table.index for k in range(made.shape[1])]
        names = pd.MultiIndex.from_tuples(index, names=["patient_id", "landmark_h", "time_h"])
        return pd.DataFrame(made.reshape(-1, len(KEPT)), index=names, columns=list(KEPT))

    def reasons(self, table: pd.DataFrame | Inputs, horizon: Horizon | float) -> pd.DataFrame:
        """Contribution of each channel and column to the log odds, by leaving it out (occlusion)."""
        fitted_for(dict.fromkeys(self.horizons, True), horizon)
        return self.every_reasons(table, [as_horizon(horizon)])[0]

    def every_reasons(self, table: pd.DataFrame | Inputs, horizons: Sequence[Horizon]) -> list[pd.DataFrame]:
        """:meth:`reasons` of several horizons: the equations are run once for all of them."""
        inputs = Inputs.of(table)
        rows, at = _rows(inputs, self.grid), landmarks(inputs.table)

        def asked(batch: Batch, of: NDArray[np.intp]) -> Floats:
            mine = {name: values[of] for name, values in rows.items()}
            return log_odds(self._risks(mine, at[of], batch, horizons).mean(axis=0), OCCLUSION_EDGE)

        return occlusion(self.encoding, self.encoding.batch(inputs), inputs.table, asked)

    def settings(self) -> dict[str, float]:
        """Steps of training of each network and the inner losses."""
        return self.told

    def to_parts(self) -> Parts:
        """Plain parts; the equations are named, not kept: they come from the patient model of the same version."""
        meta: Meta = {"kind": "sequence_hybrid", "network": self.network.meta(), "told": self.told,
                      "horizons": horizons_out(list(self.horizons)), "networks": len(self.params),
                      "equations": reduced().key}  # fmt: skip
        grid: Arrays = {f"grid_{name}": value for name, value in asdict(self.grid).items()}
        return join(meta, grid | ensemble_parts(self.params), encoding=self.encoding.to_parts())


def from_parts(meta: Meta, arrays: Arrays) -> FittedHybrid:
    """The model again.

    Raises
    ------
    ValueError
        The patient model has other equations now, or parameters are not those of the network that is described.
    """
    if meta["equations"] != reduced().key:
        raise ValueError("the patient model has other equations than those that the network corrects")
    network = net_from(meta["network"])
    params = ensemble_from(arrays, int(meta["networks"]), network.init(np.random.default_rng(0)))
    grid = Grid(*(floats(arrays[f"grid_{name}"]) for name in ("edges", "at", "offset")))
    told = {str(k): float(v) for k, v in meta["told"].items()}
    encoding = encoding_from(*child(meta, arrays, "encoding"))
    return FittedHybrid(encoding, network, grid, params, tuple(horizons_in(meta["horizons"])), told)
