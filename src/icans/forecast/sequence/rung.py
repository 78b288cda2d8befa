"""Networks as models of the ladder: the risk of the event within each horizon, from the stream of events.

The forecast is the average over networks trained from several starts. Its spread over them is a part of the
uncertainty only (that of training, not that of the sample of patients): bootstrap refits give the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.forecast.inputs import Inputs
from icans.forecast.models.base import as_horizon, check_aligned, fitted_for, landmarks
from icans.forecast.models.parts import Arrays, Meta, Parts, child, floats, horizons_in, horizons_out, join
from icans.forecast.outcomes import Horizon
from icans.forecast.ridge import log_odds
from icans.forecast.sequence.batch import Batch, stacked
from icans.forecast.sequence.cells import CAUSAL, CELLS, Shape
from icans.forecast.sequence.encode import EncodeSpec, Encoding, encoding_from, fit_encoding
from icans.forecast.sequence.engine import NUMPY, Engine, Params, Tensor, count
from icans.forecast.sequence.heads import Grid, competing_loss, probabilities, targets
from icans.forecast.sequence.network import Network, competing_logits, network_from
from icans.forecast.sequence.train import TrainSpec, train
from icans.forecast.sequence.tree import ensemble_from, ensemble_parts
from icans.forecast.tuning import inner_folds

Floats = NDArray[np.float64]

#: Rows that are predicted at a time (memory).
CHUNK = 4096
#: Risks are kept this far from 0 and 1 in contributions: a network may be very sure.
OCCLUSION_EDGE = 1e-9


@dataclass(frozen=True)
class SequenceModel:
    """A network on the stream of events with competing-risk hazards.

    Parameters
    ----------
    cell
        Which network: ``gru``, ``lstm``, ``grud``, ``attention``, ``tcn`` or ``cde``.
    hidden, width
        Hidden units of the cell; units of the dense layer behind it.
    encode, train
        How the stream becomes steps; how the network is trained.

    Raises
    ------
    ValueError
        A cell that looks backward in time, or one that does not exist.
    """

    cell: str = "grud"
    hidden: int = 16
    width: int = 16
    encode: EncodeSpec = field(default_factory=EncodeSpec)
    train: TrainSpec = field(default_factory=TrainSpec)

    #: Asks for the stream of events (:class:`icans.forecast.ladder.Rung`).
    uses_history = True

    def __post_init__(self) -> None:
        if self.cell in CELLS and self.cell not in CAUSAL:
            raise ValueError(f"cell {self.cell!r} reads records backward; it is for whole stays, not for forecasts")
        if self.cell not in CELLS:
            raise ValueError(f"no cell {self.cell!r}; there are {', '.join(CAUSAL)}")

    def fit(
        self, table: pd.DataFrame | Inputs, outcome: pd.DataFrame, horizons: Sequence[Horizon], seed: int = 0
    ) -> FittedSequence:
        """Fit to stacked risk sets; see :meth:`icans.forecast.models.base.Forecaster.fit`.

        Raises
        ------
        NotEstimableError
            Fewer than two patients with an event, or no channel that is measured often enough.
        """
        inputs = Inputs.of(table)
        check_aligned(inputs.table, outcome)
        inner, _ = inner_folds(outcome, self.train.held_out, seed, "when to stop training")
        encoding = fit_encoding(inputs, self.encode)
        batch = encoding.batch(inputs)
        grid = Grid.fit(outcome, horizons)
        known, cause = targets(outcome["time_h"], outcome["event"], grid.edges)
        shape = Shape(len(encoding.channels), batch.experts.shape[1], self.hidden)
        network = Network(self.cell, shape, batch.context.shape[1], self.width, scores=2, repeats=len(grid.edges))
        arrays = {
            "start": grid.start(landmarks(inputs.table)),
            "known": known.astype(np.float32),
            "cause": np.eye(3, dtype=np.float32)[cause],
            "weight": np.ones(len(batch), dtype=np.float32),
        }
        found = train(CompetingLearner(network), batch, arrays, inner, self.train, seed)
        told = {f"updates_{k}": float(t.updates) for k, t in enumerate(found)}
        told |= {"inner_loss": float(np.mean([t.loss for t in found])),
                 "inner_loss_by_day": float(np.mean([t.loss_start for t in found]))}  # fmt: skip
        return FittedSequence(encoding, network, grid, tuple(t.params for t in found), tuple(horizons), told)


@dataclass(frozen=True)
class CompetingLearner:
    """A network with the loss of competing-risk hazards."""

    network: Network

    def init(self, rng: np.random.Generator, data: dict[str, Any]) -> Params:
        """Starting parameters."""
        return self.network.init(rng)

    def dropped(self, rng: np.random.Generator, rows: int, share: float) -> NDArray[np.float32]:
        """Factors of dropout."""
        return self.network.dropped(rng, rows, share)

    def loss(self, engine: Engine, params: Params, batch: dict[str, Tensor], dropped: Any) -> Tensor:
        """Mean negative log-likelihood of the rows."""
        scores = self.network.scores_of(engine, params, batch, dropped)
        logits = competing_logits(engine, scores, batch["start"])
        return competing_loss(engine.xp, logits, batch["known"], batch["cause"], batch["weight"])


@dataclass(frozen=True)
class FittedSequence:
    """Trained networks.

    Attributes
    ----------
    encoding, network, grid
        How the stream is read, the sizes of the network, bins and offsets.
    params
        Parameters of each network of the ensemble.
    horizons
        The horizons it was fitted for.
    told
        Steps of training and inner losses.
    """

    encoding: Encoding
    network: Network
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
        return self._risks(self.encoding.batch(inputs), landmarks(inputs.table), [as_horizon(horizon)])[..., 0]

    def risks(self, table: pd.DataFrame | Inputs) -> Floats:
        """Probability of the event within every fitted horizon, shape (n, horizons): the networks run once."""
        inputs = Inputs.of(table)
        return self._risks(self.encoding.batch(inputs), landmarks(inputs.table), self.horizons).mean(axis=0)

    def hazards(self, table: pd.DataFrame | Inputs) -> Floats:
        """P(none, event, competing) in each bin of ``grid.edges``, mean over the ensemble, shape (n, K, 3)."""
        inputs = Inputs.of(table)
        batch, at = self.encoding.batch(inputs), landmarks(inputs.table)
        return np.mean([self._hazards(p, batch, at) for p in self.params], axis=0)

    def _risks(self, batch: Batch, landmark_h: Floats, horizons: Sequence[Horizon]) -> Floats:
        found = np.empty((len(self.params), len(batch), len(horizons)))
        for first in range(0, len(batch), CHUNK):
            rows = np.arange(first, min(first + CHUNK, len(batch)))
            part, at = batch.rows(rows), landmark_h[rows]
            for k, params in enumerate(self.params):
                chance = self._hazards(params, part, at)
                for j, horizon in enumerate(horizons):
                    found[k, rows, j] = self.grid.risk(chance, at, horizon)
        return found

    def _hazards(self, params: Params, batch: Batch, landmark_h: Floats) -> Floats:
        scores = self.network.scores_of(NUMPY, params, batch.arrays())
        return probabilities(competing_logits(NUMPY, scores, self.grid.start(landmark_h)))

    def reasons(self, table: pd.DataFrame | Inputs, horizon: Horizon | float) -> pd.DataFrame:
        """Contribution of each channel and column to the log odds, by leaving it out (occlusion).

        The log odds of the row as it is, less those as if the channel had never been measured (or the column were at
        its training mean). Contributions do not add up to the whole when channels stand in for one another.
        """
        fitted_for(dict.fromkeys(self.horizons, True), horizon)
        return self.every_reasons(table, [as_horizon(horizon)])[0]

    def every_reasons(self, table: pd.DataFrame | Inputs, horizons: Sequence[Horizon]) -> list[pd.DataFrame]:
        """:meth:`reasons` of several horizons: the networks run once for all of them."""
        inputs = Inputs.of(table)
        batch, at = self.encoding.batch(inputs), landmarks(inputs.table)

        def asked(rows: Batch, of: NDArray[np.intp]) -> Floats:
            return log_odds(self._risks(rows, at[of], horizons).mean(axis=0), OCCLUSION_EDGE)

        return occlusion(self.encoding, batch, inputs.table, asked)

    def settings(self) -> dict[str, float]:
        """Steps of training of each network and the inner losses."""
        return self.told

    def to_parts(self) -> Parts:
        """Plain parts (:mod:`icans.forecast.models.parts`)."""
        meta: Meta = {"kind": "sequence", "network": self.network.meta(), "told": self.told,
                      "horizons": horizons_out(list(self.horizons)), "networks": len(self.params)}  # fmt: skip
        grid: Arrays = {f"grid_{name}": value for name, value in asdict(self.grid).items()}
        return join(meta, grid | ensemble_parts(self.params), encoding=self.encoding.to_parts())


def from_parts(meta: Meta, arrays: Arrays) -> FittedSequence:
    """The model again.

    Raises
    ------
    ValueError
        Parameters are not those of the network that the file describes.
    """
    network = network_from(meta["network"])
    params = ensemble_from(arrays, int(meta["networks"]), network.init(np.random.default_rng(0)))
    grid = Grid(*(floats(arrays[f"grid_{name}"]) for name in ("edges", "at", "offset")))
    told = {str(k): float(v) for k, v in meta["told"].items()}
    encoding = encoding_from(*child(meta, arrays, "encoding"))
    return FittedSequence(encoding, network, grid, params, tuple(horizons_in(meta["horizons"])), told)


def occlusion(
    encoding: Encoding,
    batch: Batch,
    table: pd.DataFrame,
    log_odds: Callable[[Batch, NDArray[np.intp]], Floats],
) -> list[pd.DataFrame]:
    """Log odds of rows as they are, less those without each channel and column; one column a feature.

    ``log_odds`` is given many copies of the rows at once, and which row each of them is: one patient's reasons then
    take hardly longer than one forecast. It gives an array of shape (copies, horizons); each horizon has a table.
    """
    changed: dict[str, Callable[[], Batch]] = {}
    for k, channel in enumerate(encoding.channels):
        name = next((c for c in (f"{channel}.last", f"{channel}.now", f"{channel}.given") if c in table), channel)
        changed[name] = partial(batch.without, k)
    for kind in ("context", "experts"):
        for name, columns in encoding.sources(kind).items():
            changed[name] = partial(batch.centred, kind, columns)
    n, names = len(batch), list(changed)
    whole = log_odds(batch, np.arange(n))
    parts: dict[str, Floats] = {}
    together = max(1, CHUNK // max(n, 1))
    for first in range(0, len(names), together):
        mine = names[first : first + together]
        found = log_odds(stacked([changed[name]() for name in mine]), np.tile(np.arange(n), len(mine)))
        parts |= {name: whole - lost for name, lost in zip(mine, found.reshape(len(mine), *whole.shape), strict=True)}
    return [
        pd.DataFrame({name: part[:, j] for name, part in parts.items()}, index=table.index)
        for j in range(whole.shape[1])
    ]
