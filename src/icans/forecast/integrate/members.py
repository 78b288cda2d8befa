"""The members of a stack: rungs, or experts that see one modality; fitted, and asked out of fold.

A member's word on a row is its *deviation*: the log odds of its risk minus the log odds of the incidence by day in
the rows that it was fitted to. An expert of EEG is fitted to rows with an EEG. Who has one is often ill already, and
the incidence among them is higher; the deviation leaves that out, so that having been measured is not evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.forecast.inputs import Inputs
from icans.forecast.integrate.modalities import MODALITIES, Modality, availability, columns_of, is_value, shown
from icans.forecast.models import parts
from icans.forecast.models.base import DayBaseline, Fitted, Forecaster, last_value_columns, summary_columns
from icans.forecast.models.boosting import Boosting
from icans.forecast.models.logistic import LastValueLogistic
from icans.forecast.models.parts import Arrays, Meta, Parts, child, join
from icans.forecast.models.parts_shared import baseline_from, baseline_parts
from icans.forecast.outcomes import Horizon
from icans.forecast.plain import Plain, Table
from icans.forecast.ridge import log_odds
from icans.forecast.rung import Rung, every_risk
from icans.forecast.tuning import inner_folds

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: A deviation is held within this (odds 150 times those of the day): one member that is certain and wrong must not
#: outvote all others.
MAX_DEVIATION = 5.0
#: Penalties that an expert tries: coarser than the ladder's, because every expert is fitted once more for each fold of
#: the stack, and the stack's weights forgive an expert that is a little too bold or too shy.
EXPERT_PENALTIES = (10.0, 1.0, 0.3, 0.1, 0.03, 0.01)
EXPERT_TREES = (0, 10, 20, 40, 80)


@dataclass(frozen=True)
class Member:
    """One voice of a stack.

    Attributes
    ----------
    rung
        The model; its name is the member's.
    modality
        Name of the modality that it sees (its fit takes the rows that have it); None: a whole rung, all rows.
    table
        The table of modalities that the name is looked up in.
    weight
        Prior weight relative to the other members.
    """

    rung: Rung
    modality: str | None = None
    table: tuple[Modality, ...] = MODALITIES
    weight: float = 1.0

    @property
    def name(self) -> str:
        """The member's name."""
        return self.rung.name

    def present(self, features: pd.DataFrame) -> Mask:
        """Rows in which the member has something to see, shape (n,)."""
        if self.modality is None:
            return np.ones(len(features), dtype=bool)
        return availability(features, self.table)[self.modality].to_numpy()

    def fit(self, inputs: Inputs, outcome: pd.DataFrame, horizons: Sequence[Horizon], seed: int) -> FittedMember:
        """Fit to the rows in which the modality is present.

        Raises
        ------
        NotEstimableError
            No such row, or the model cannot be estimated from them.
        """
        rows = self.present(inputs.table)
        if not rows.any():
            raise NotEstimableError(f"no training row has any value of {self.modality!r}")
        mine = inputs[rows] if self.modality is None else shown(inputs[rows], self.modality, self.table)
        known = outcome[rows].reset_index(drop=True)
        mine = mine.only(self.rung.groups)
        view = mine if self.rung.uses_history else mine.table
        model = self.rung.model.fit(view, known, horizons, seed)
        baseline = DayBaseline.fit(known, horizons)
        columns = tuple(str(c) for c in mine.table.columns)
        return FittedMember(self.name, self.modality, self.table, self.rung.uses_history, columns, model, baseline)


@dataclass(frozen=True)
class FittedMember:
    """A member that has learned; it may be asked about rows of any table, in any set of columns."""

    name: str
    modality: str | None
    table: tuple[Modality, ...]
    uses_history: bool
    columns: tuple[str, ...]
    model: Fitted
    baseline: DayBaseline

    def present(self, features: Table) -> Mask:
        """Rows in which a column that the member was fitted to has a value, shape (n,); all, for one of sequences."""
        if self.modality is None and self.uses_history:
            return np.ones(len(features), dtype=bool)
        if isinstance(features, Plain):
            return features.present(self._telling)
        known = [c for c in self._telling if c in features.columns]
        return np.asarray(features[known].notna().to_numpy().any(axis=1))

    @cached_property
    def _telling(self) -> tuple[str, ...]:
        """Columns of which one with a value means that there is something to see."""
        return tuple(c for c in self.columns if c != "day" and is_value(c))

    def view(self, inputs: Inputs) -> Inputs | Table:
        """What the model is shown: the columns of its fit, empty where the inputs do not have them."""
        if not self.uses_history and getattr(self.model, "takes_plain", False):
            return inputs.plain.reindexed(self.columns)
        features = inputs.table.reindex(columns=list(self.columns))
        if not self.uses_history:
            return features
        mine = inputs if self.modality is None else shown(inputs, self.modality, self.table)
        return replace(mine, table=features)

    def deviation(self, inputs: Inputs, horizons: Sequence[Horizon]) -> Floats:
        """Log odds against the incidence by day, shape (n, horizons); NaN where the member has nothing to see."""
        rows = self.present(inputs.plain)
        found = np.full((len(inputs), len(horizons)), np.nan)
        if rows.any():
            asked = inputs[rows]
            day = self.baseline.logits(asked.plain, horizons)
            gap = log_odds(every_risk(self.model, self.view(asked), horizons)) - day
            found[rows] = np.clip(gap, -MAX_DEVIATION, MAX_DEVIATION)
        return found

    def reasons(self, inputs: Inputs, horizon: Horizon) -> pd.DataFrame:
        """The model's own reasons for all rows (zero where the member has nothing to see)."""
        rows = self.present(inputs.plain)
        if not rows.any():
            return pd.DataFrame(index=inputs.table.index)
        own = self.model.reasons(self.view(inputs[rows]), horizon)
        if rows.all():
            return own
        full = np.zeros((len(inputs), own.shape[1]))
        full[rows] = own.to_numpy()
        return pd.DataFrame(full, index=inputs.table.index, columns=own.columns)

    def to_parts(self) -> Parts:
        """Plain parts (:mod:`icans.forecast.models.parts`)."""
        meta: Meta = {"name": self.name, "modality": self.modality, "uses_history": self.uses_history}
        meta |= {"columns": list(self.columns), "table": [asdict(m) for m in self.table]}
        return join(meta, {}, model=parts.to_parts(self.model), baseline=baseline_parts(self.baseline))


def member_from(meta: Meta, arrays: Arrays) -> FittedMember:
    """The member again."""
    table = tuple(
        Modality(e["name"], e["label"], tuple(e["groups"]), tuple(e["analytes"]), tuple(e["matrices"]), e["weight"])
        for e in meta["table"]
    )
    model = parts.from_parts(*child(meta, arrays, "model"))
    baseline = baseline_from(*child(meta, arrays, "baseline"))
    columns = tuple(map(str, meta["columns"]))
    return FittedMember(meta["name"], meta["modality"], table, bool(meta["uses_history"]), columns, model, baseline)


@dataclass(frozen=True)
class LevelOne:
    """What the members said of patients whom their fits had not seen.

    Attributes
    ----------
    day
        Log odds of the incidence by day of the training part, shape (n, horizons).
    deviation
        Shape (n, members, horizons), NaN where a member said nothing.
    fold
        Fold of each row.
    failures
        What could not be fitted, by member and fold, with the reason.
    """

    day: Floats
    deviation: Floats
    fold: NDArray[np.intp]
    failures: tuple[str, ...]


def out_of_fold(
    members: Sequence[Member],
    inputs: Inputs,
    outcome: pd.DataFrame,
    horizons: Sequence[Horizon],
    *,
    folds: int = 5,
    seed: int = 0,
) -> LevelOne:
    """Fit every member without each fold's patients and ask it about them.

    A member that cannot be fitted without a fold says nothing in it.

    Raises
    ------
    NotEstimableError
        Fewer than two patients with an event.
    """
    fold, count = inner_folds(outcome, folds, seed, "the weights of a stack")
    day = np.empty((len(outcome), len(horizons)))
    deviation = np.full((len(outcome), len(members), len(horizons)), np.nan)
    failures = []
    for k in range(count):
        train, test = fold != k, fold == k
        known = outcome[train].reset_index(drop=True)
        seen, asked = inputs[train], inputs[test]
        baseline = DayBaseline.fit(known, horizons)
        day[test] = np.column_stack([baseline.logit(asked.table, h) for h in horizons])
        for j, member in enumerate(members):
            try:
                fitted = member.fit(seen, known, horizons, member_seed(seed, member.name, k))
            except NotEstimableError as error:
                failures.append(f"{member.name}, fold {k + 1}: {error}")
                continue
            deviation[test, j] = fitted.deviation(asked, horizons)
    return LevelOne(day, deviation, fold, tuple(failures))


def member_seed(seed: int, name: str, fold: int | None) -> int:
    """Seed of a member's fit without a fold (None: on all training patients)."""
    return int(stream(seed, "stack member", name, -1 if fold is None else fold).integers(2**31 - 1))


def experts(
    features: pd.DataFrame,
    table: Sequence[Modality] = MODALITIES,
    *,
    models: Mapping[str, Forecaster] | None = None,
) -> tuple[Member, ...]:
    """Experts for each modality that has a column, on its own columns.

    Parameters
    ----------
    features
        A feature table (only its column names count).
    table
        The modalities.
    models
        What each modality gets, by a name for the model: an expert is named ``<modality>`` under the empty name, else
        ``<modality>.<name>``. None: :func:`expert_models`. They share the modality's prior weight.
    """
    names = [str(c) for c in features.columns]
    wanted = expert_models() if models is None else models
    made = []
    for modality in table:
        if not columns_of(names, modality.name, table):
            continue
        for name, model in wanted.items():
            label = f"{modality.name}.{name}" if name else modality.name
            rung = Rung(label, f"expert on {modality.label}", model)
            made.append(Member(rung, modality.name, tuple(table), modality.weight / len(wanted)))
    return tuple(made)


def together(table: Sequence[Modality] = MODALITIES) -> Member:
    """A member that sees every modality at once: small boosted trees on all summaries.

    Experts that are fitted each on its own cannot know what the others see: what two modalities say twice is counted
    twice, and what they say only together is lost. This member knows; what it says is told by modality through its own
    reasons (Shapley values).
    """
    rung = Rung("together", "boosted trees on every modality", Boosting(trees=EXPERT_TREES, columns=summary_columns))
    return Member(rung, None, tuple(table))


def expert_models() -> dict[str, Forecaster]:
    """Ridge logistic regression on newest values, and small boosted trees on summaries (named ``trees``)."""
    return {"": expert_model(), "trees": Boosting(trees=EXPERT_TREES, columns=summary_columns)}


def expert_model(penalties: tuple[float, ...] = EXPERT_PENALTIES, inner_folds: int = 3) -> LastValueLogistic:
    """The logistic model of an expert."""
    return LastValueLogistic(penalties=penalties, columns=expert_columns, inner_folds=inner_folds)


def expert_columns(columns: Sequence[str]) -> list[str]:
    """Newest values of dated columns, and every column of a block (blocks are small and have no summaries)."""
    dated = ("lab", "grade", "drug", "static", "score", "day")
    last = set(last_value_columns(columns))
    return [c for c in columns if c in last or c.split(".", 1)[0] not in dated]
