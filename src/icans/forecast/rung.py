"""A rung: a model under a name, shown some of the columns; fitted and not.

What a stored model needs of the ladder (:mod:`icans.forecast.ladder`), without the models that are on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.forecast.inputs import Inputs
from icans.forecast.models.base import Fitted, Forecaster
from icans.forecast.outcomes import Horizon
from icans.forecast.plain import Table

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rung:
    """One model of the ladder.

    Attributes
    ----------
    name, description
        A short name for tables, one sentence for people.
    model
        The model before fitting. One whose class says ``uses_history = True`` is given the whole inputs (the stream
        of events with the table), any other the feature table.
    groups
        Prefixes of the columns that it may see (:mod:`icans.forecast.inputs`); None: all there are.
    """

    name: str
    description: str
    model: Forecaster
    groups: tuple[str, ...] | None = None

    @property
    def uses_history(self) -> bool:
        """Whether the model reads the stream of events."""
        return bool(getattr(self.model, "uses_history", False))

    def fit(
        self, inputs: Inputs | pd.DataFrame, outcome: pd.DataFrame, horizons: Sequence[Horizon], seed: int = 0
    ) -> FittedRung:
        """Fit to stacked risk sets; see :meth:`icans.forecast.models.base.Forecaster.fit`."""
        return FittedRung(self, self.model.fit(self.shown(inputs), outcome, horizons, seed))

    def shown(self, inputs: Inputs | pd.DataFrame) -> Inputs | pd.DataFrame:
        """What the model is given of the inputs."""
        mine = Inputs.of(inputs).only(self.groups)
        return mine if self.uses_history else mine.table


@dataclass(frozen=True, slots=True)
class FittedRung:
    """A rung that has learned; asked with the same kind of inputs that it was fitted to."""

    rung: Rung
    model: Fitted

    @property
    def parameters(self) -> int:
        """Number of candidate parameters that were fitted."""
        return self.model.parameters

    def predict(self, inputs: Inputs | pd.DataFrame, horizon: Horizon | float) -> Floats:
        """Probability of the event within the horizon, shape (rows,)."""
        return self.model.predict(self._shown(inputs), horizon)

    def risks(self, inputs: Inputs | pd.DataFrame, horizons: Sequence[Horizon]) -> Floats:
        """Probability of the event within each horizon, shape (rows, horizons); at once where the model can."""
        return every_risk(self.model, self._shown(inputs), horizons)

    def reasons(self, inputs: Inputs | pd.DataFrame, horizon: Horizon | float) -> pd.DataFrame:
        """Contribution of each feature to the log odds or log hazard, one column a feature."""
        return self.model.reasons(self._shown(inputs), horizon)

    def every_reasons(self, inputs: Inputs | pd.DataFrame, horizons: Sequence[Horizon]) -> list[pd.DataFrame]:
        """:meth:`reasons` of several horizons; at once where the model can."""
        view = self._shown(inputs)
        own = getattr(self.model, "every_reasons", None)
        if own is None:
            return [self.model.reasons(view, horizon) for horizon in horizons]
        found: list[pd.DataFrame] = own(view, horizons)
        return found

    def settings(self) -> dict[str, float]:
        """What was chosen inside the training data."""
        return self.model.settings()

    def with_posterior(self, inputs: Inputs | pd.DataFrame, outcome: pd.DataFrame, seed: int) -> FittedRung:
        """With a posterior given the rows that it was fitted to, where the model can have one; else unchanged."""
        own = getattr(self.model, "with_posterior", None)
        return self if own is None else FittedRung(self.rung, own(self.rung.shown(inputs), outcome, seed))

    def bounds(self, inputs: Inputs | pd.DataFrame, horizons: Sequence[Horizon]) -> Floats | None:
        """95 % interval of the risk by the model's own posterior, shape (2, rows, horizons); None: it has none."""
        own = getattr(self.model, "bounds", None)
        found: Floats | None = None if own is None else own(self._shown(inputs))
        if found is None:
            return None
        known = list(self.model.models)  # type: ignore[attr-defined]
        return found[:, :, [known.index(h) for h in horizons]]

    def _shown(self, inputs: Inputs | pd.DataFrame) -> Any:
        """What the fitted model is given: some are quicker with arrays, or with inputs that keep what was made."""
        if self.rung.uses_history:
            return self.rung.shown(inputs)
        mine = Inputs.of(inputs)
        if getattr(self.model, "takes_plain", False):
            return mine.plain if self.rung.groups is None else mine.plain[mine.columns_of(self.rung.groups)]
        mine = mine.only(self.rung.groups)
        return mine if getattr(self.model, "takes_inputs", False) else mine.table


def every_risk(model: Fitted, view: Inputs | Table, horizons: Sequence[Horizon]) -> Floats:
    """Risks within horizons, shape (rows, horizons), by the model's own ``risks(view)`` where it has one.

    A model with ``risks`` gives every horizon that it was fitted for at the price of one, in the order of the fit.
    """
    if not len(view):
        return np.empty((0, len(horizons)))
    own = getattr(model, "risks", None)
    known = getattr(model, "horizons", None) or list(getattr(model, "models", ()))
    if own is None or any(h not in known for h in horizons):
        return np.column_stack([model.predict(view, h) for h in horizons])
    found: Floats = own(view)
    return found[:, [list(known).index(h) for h in horizons]]
