"""A rung with effects of products and sites, as a model of the ladder (:mod:`icans.forecast.transfer.effects`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError
from icans.forecast.inputs import Inputs
from icans.forecast.integrate.members import Member, member_seed, out_of_fold
from icans.forecast.integrate.stack import level_of
from icans.forecast.ladder import Rung
from icans.forecast.models import parts
from icans.forecast.models.base import Fitted, as_horizon, check_aligned
from icans.forecast.models.coherent import coherent
from icans.forecast.models.parts import Arrays, Meta, Parts, child, floats, horizons_in, horizons_out, join
from icans.forecast.outcomes import Horizon
from icans.forecast.ridge import expit, log_odds
from icans.forecast.transfer.effects import Effects, fit_effects, integrated

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GroupEffects:
    """A rung and random intercepts and slopes of labels.

    Parameters
    ----------
    base
        The rung; it does not see the factors' own columns.
    factors
        Columns of the feature table that hold the labels, e.g. ``("static.product", "static.site")``.
    folds
        Patient-grouped folds inside the training data that the base is asked out of.
    """

    base: Rung
    factors: tuple[str, ...] = ("static.product",)
    folds: int = 5

    @property
    def uses_history(self) -> bool:
        """Whether the base reads the stream of events."""
        return self.base.uses_history

    def fit(
        self, table: pd.DataFrame | Inputs, outcome: pd.DataFrame, horizons: Sequence[Horizon], seed: int = 0
    ) -> FittedGroupEffects:
        """Fit the base, ask it out of fold, and fit the effects to what it said.

        Raises
        ------
        NotEstimableError
            A factor is not in the table, or the base cannot be fitted.
        """
        inputs = Inputs.of(table)
        check_aligned(inputs.table, outcome)
        outcome = outcome.reset_index(drop=True)
        gone = [name for name in self.factors if name not in inputs.table.columns]
        if gone:
            raise NotEstimableError(f"the feature table has no column {gone}; name it in FeatureSpec(static=...)")
        member = Member(self.base)
        plain = without(inputs, self.factors)
        fitted = member.fit(plain, outcome, horizons, member_seed(seed, member.name, None))
        said = out_of_fold([member], plain, outcome, horizons, folds=self.folds, seed=seed)
        level = level_of(outcome, horizons, said.day, np.nan_to_num(said.deviation))
        labels = [inputs.table[name].astype(object).tolist() for name in self.factors]
        x = level.day + level.deviation[:, 0]
        effects = fit_effects(x, level.status, level.weight, labels, level.patient)
        return FittedGroupEffects(fitted.model, self.uses_history, self.base.groups, self.factors, effects,
                                  tuple(horizons))  # fmt: skip


@dataclass(frozen=True)
class FittedGroupEffects:
    """A fitted base with the effects of its labels."""

    base: Fitted
    uses_history: bool
    groups: tuple[str, ...] | None
    factors: tuple[str, ...]
    effects: Effects
    horizons: tuple[Horizon, ...]

    @property
    def parameters(self) -> int:
        """Parameters of the base, intercepts, slope, two standard deviations a factor."""
        return self.base.parameters + len(self.horizons) + 1 + 2 * len(self.factors)

    def predict(self, table: pd.DataFrame | Inputs, horizon: Horizon | float) -> Floats:
        """Probability of the event within the horizon, the uncertainty of the effects integrated out."""
        inputs = Inputs.of(table)

        def raw(one: Horizon) -> Floats:
            return integrated(*self.logit(inputs, one))

        return coherent(raw, inputs.table, self.horizons, as_horizon(horizon))

    def logit(self, table: pd.DataFrame | Inputs, horizon: Horizon | float) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the log odds, shape (n,); the latter is large for labels never seen."""
        inputs, one = Inputs.of(table), as_horizon(horizon)
        if one not in self.horizons:
            raise NotEstimableError(f"not fitted for {one.label!r}; fitted for {[h.label for h in self.horizons]}")
        x = log_odds(self.base.predict(self._view(inputs), one))
        return self.effects.logit(x, self.codes(inputs.table), self.horizons.index(one))

    def interval(
        self, table: pd.DataFrame | Inputs, horizon: Horizon | float, level: float = 0.95
    ) -> tuple[Floats, Floats]:
        """Interval of the risk for what is not known of the labels' effects and of the recalibration."""
        mean, sd = self.logit(table, horizon)
        z = NormalDist().inv_cdf(0.5 + level / 2)
        return expit(mean - z * sd), expit(mean + z * sd)

    def group_sd(self) -> dict[str, float]:
        """Standard deviation of each factor's levels, by column of the patients table (for the envelope's rule)."""
        names = [name.removeprefix("static.") for name in self.factors]
        return dict(zip(names, self.effects.tau.tolist(), strict=True))

    def codes(self, table: pd.DataFrame) -> NDArray[np.intp]:
        """Position of each row's labels, shape (n, factors); -1: never seen (or the column is not there)."""
        found = np.full((len(table), len(self.factors)), -1, dtype=np.intp)
        for k, name in enumerate(self.factors):
            if name in table.columns:
                found[:, k] = self.effects.code(k, table[name].astype(object).tolist())
        return found

    def reasons(self, table: pd.DataFrame | Inputs, horizon: Horizon | float) -> pd.DataFrame:
        """The base's reasons, and under each factor's name what its label adds to the log odds."""
        inputs = Inputs.of(table)
        own = self.base.reasons(self._view(inputs), horizon) * (1.0 + self.effects.theta[self.effects.horizons])
        codes = self.codes(inputs.table)
        at = self.effects.horizons + 1
        for k, name in enumerate(self.factors):
            size = len(self.effects.levels[k])
            effect = np.append(self.effects.theta[at : at + size], 0.0)
            own = own.assign(**{name: effect[codes[:, k]]})
            at += 2 * size
        return own

    def settings(self) -> dict[str, float]:
        """Standard deviations of intercepts and slopes of each factor."""
        found = {f"tau, {name}": float(v) for name, v in zip(self.factors, self.effects.tau, strict=True)}
        return found | {f"omega, {name}": float(v) for name, v in zip(self.factors, self.effects.omega, strict=True)}

    def to_parts(self) -> Parts:
        """Plain parts (:mod:`icans.forecast.models.parts`)."""
        e = self.effects
        meta: Meta = {"kind": "group_effects", "uses_history": self.uses_history, "factors": list(self.factors)}
        meta |= {"groups": None if self.groups is None else list(self.groups)}
        meta |= {"levels": [list(v) for v in e.levels], "horizons": horizons_out(list(self.horizons))}
        arrays: Arrays = {"theta": e.theta, "covariance": e.covariance, "tau": e.tau, "omega": e.omega}
        arrays["centre"] = np.array(e.centre)
        return join(meta, arrays, base=parts.to_parts(self.base))

    def _view(self, inputs: Inputs) -> pd.DataFrame | Inputs:
        mine = without(inputs, self.factors).only(self.groups)
        return mine if self.uses_history else mine.table


def from_parts(meta: Meta, arrays: Arrays) -> FittedGroupEffects:
    """The model again."""
    numbers = {name: floats(arrays[name]) for name in ("theta", "covariance", "tau", "omega")}
    levels = tuple(tuple(map(str, names)) for names in meta["levels"])
    horizons = tuple(horizons_in(meta["horizons"]))
    effects = Effects(levels, **numbers, centre=float(floats(arrays["centre"])), horizons=len(horizons))
    groups = None if meta["groups"] is None else tuple(map(str, meta["groups"]))
    base = parts.from_parts(*child(meta, arrays, "base"))
    return FittedGroupEffects(base, bool(meta["uses_history"]), groups, tuple(meta["factors"]), effects, horizons)


def without(inputs: Inputs, columns: Sequence[str]) -> Inputs:
    """The inputs without some columns."""
    return replace(inputs, table=inputs.table.drop(columns=[c for c in columns if c in inputs.table.columns]))
