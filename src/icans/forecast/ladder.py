"""The ladder: the ordered list of rival models that every claim is measured against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.forecast.inputs import Inputs
from icans.forecast.models.base import Fitted, Forecaster
from icans.forecast.models.boosting import Boosting
from icans.forecast.models.cox import LandmarkCox
from icans.forecast.models.logistic import LastValueLogistic
from icans.forecast.models.prevalence import Prevalence
from icans.forecast.models.recalibrated import Recalibrated
from icans.forecast.outcomes import Horizon
from icans.forecast.plain import Table
from icans.forecast.scores import SCORES, score

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


#: The clinical rule that needs no laboratory: CRS comes first, and ICANS follows it by some three days.
EARLY_CRS = Rung(
    "crs_rule",
    "largest CRS grade of days 0-3 (as far as known), recalibrated to the risk set",
    Recalibrated(("grade.CRS.max_d0_3",)),
)


def score_rungs(names: Sequence[str] | None = None) -> tuple[Rung, ...]:
    """A rung for each published score (all by default), recalibrated by intercept and slope in each fold.

    Where a score cannot be computed for most rows its fit says so and the rung is left out of the results.
    """
    return tuple(
        Rung(f"score_{name}", f"{score(name).label}, recalibrated to the risk set", Recalibrated((f"score.{name}",)))
        for name in (SCORES if names is None else names)
    )


def ladder(scores: Sequence[Rung] | None = None, *, names: Sequence[str] | None = None) -> tuple[Rung, ...]:
    """The rungs in order, from the simplest to the most flexible.

    Parameters
    ----------
    scores
        Published scores, put after the incidence by day. None: every one that is known (:func:`score_rungs`).
    names
        Only these, in this order of the ladder; KeyError for an unknown name.
    """
    rungs = (
        Rung("prevalence", "incidence of the risk set on that day (Aalen-Johansen), the same for everybody",
             Prevalence()),
        *(score_rungs() if scores is None else scores),
        EARLY_CRS,
        Rung("logistic_last", "ridge logistic regression on newest values, grades and drugs as known",
             LastValueLogistic()),
        Rung("cox_last", "ridge cause-specific Cox supermodel on the same features, one baseline per landmark",
             LandmarkCox()),
        Rung("cox_supermodel", "the same with effects that may change with the day of the landmark",
             LandmarkCox(interactions=True)),
        Rung("boosting", "gradient-boosted trees on summaries (newest, max, min, mean, slope, area)", Boosting()),
    )  # fmt: skip
    if names is None:
        return rungs
    known = {rung.name: rung for rung in rungs}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise KeyError(f"the ladder has no {unknown}; it has {list(known)}")
    return tuple(rung for rung in rungs if rung.name in set(names))
