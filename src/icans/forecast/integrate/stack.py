"""The integration layer as a model of the ladder: members fitted in folds, weights learned, risks calibrated.

:class:`Stack` takes any members: experts of modalities (:func:`icans.forecast.integrate.members.experts`), whole rungs
(a super learner over the ladder), or both. It is fitted like any rung and refuses nothing that has at least the day:
without any modality a row gets the incidence by day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError
from icans.forecast.inputs import Inputs
from icans.forecast.integrate.members import (
    FittedMember,
    Member,
    experts,
    member_from,
    member_seed,
    out_of_fold,
    together,
)
from icans.forecast.integrate.modalities import MODALITIES, Modality, check_modalities, owner
from icans.forecast.integrate.weights import SPREADS, Combiner, Level, fit_combiner
from icans.forecast.models.base import DayBaseline, as_horizon, check_aligned, fitted_for, labels, summed
from icans.forecast.models.coherent import in_order
from icans.forecast.models.parts import Arrays, Meta, Parts, child, floats, join
from icans.forecast.models.parts_shared import baseline_from, baseline_parts
from icans.forecast.outcomes import Horizon
from icans.forecast.ridge import expit, log_odds
from icans.forecast.rung import Rung

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Stack:
    """Members joined by learned, convex, availability-aware weights.

    Parameters
    ----------
    members
        Whole rungs and experts; None: experts for each modality of ``table`` that the feature table has, and one
        member that sees them all (:func:`icans.forecast.integrate.members.together`).
    table
        The modalities.
    folds
        Patient-grouped folds inside the training data that the members are asked out of.
    spreads
        See :func:`icans.forecast.integrate.weights.fit_combiner`.
    """

    members: tuple[Member, ...] | None = None
    table: tuple[Modality, ...] = MODALITIES
    folds: int = 5
    spreads: tuple[float, ...] = SPREADS

    def __post_init__(self) -> None:
        check_modalities(self.table)
        names = [m.name for m in self.members or ()]
        if len(set(names)) < len(names):
            raise ValueError(f"members of a stack need names of their own; got {names}")

    @property
    def uses_history(self) -> bool:
        """Whether a member reads the stream of events."""
        return any(member.rung.uses_history for member in self.members or ())

    def fit(
        self, table: pd.DataFrame | Inputs, outcome: pd.DataFrame, horizons: Sequence[Horizon], seed: int = 0
    ) -> FittedStack:
        """Fit the members out of fold, the weights to what they said, and the members again to all rows.

        Raises
        ------
        NotEstimableError
            Fewer than two patients with an event, or no member can be fitted.
        """
        inputs = Inputs.of(table)
        check_aligned(inputs.table, outcome)
        outcome = outcome.reset_index(drop=True)
        wanted = self.members
        if wanted is None:
            wanted = (*experts(inputs.table, self.table), together(self.table))
        fitted, kept, failures = [], [], []
        for member in wanted:
            try:
                fitted.append(member.fit(inputs, outcome, horizons, member_seed(seed, member.name, None)))
                kept.append(member)
            except NotEstimableError as error:
                failures.append(f"{member.name}: {error}")
        if wanted and not kept:
            raise NotEstimableError("no member of the stack can be fitted: " + "; ".join(failures))
        level_one = out_of_fold(kept, inputs, outcome, horizons, folds=self.folds, seed=seed)
        level = level_of(outcome, horizons, level_one.day, level_one.deviation)
        prior = np.array([member.weight for member in kept], dtype=float)
        combiner = fit_combiner(level, prior, level_one.fold, spreads=self.spreads)
        spread = _typical(level_one.deviation)
        notes = (*failures, *level_one.failures)
        return FittedStack(tuple(fitted), combiner, DayBaseline.fit(outcome, horizons), spread, notes)


def stack_rung(rungs: Sequence[Rung], name: str = "stack") -> Rung:
    """A super learner over whole rungs (tabular or of sequences), as a rung of the ladder."""
    members = tuple(Member(rung) for rung in rungs)
    listed = ", ".join(rung.name for rung in rungs)
    return Rung(name, f"weighted mean of log odds, weights learned out of fold: {listed}", Stack(members))


def integration_rung(table: Sequence[Modality] = MODALITIES, name: str = "integration") -> Rung:
    """The integration layer over experts by modality, as a rung of the ladder."""
    listed = ", ".join(m.name for m in table)
    return Rung(name, f"experts by modality joined by what is available: {listed}", Stack(table=tuple(table)))


def level_of(outcome: pd.DataFrame, horizons: Sequence[Horizon], day: Floats, deviation: Floats) -> Level:
    """Level-one data of stacked risk sets; a horizon that ended before the landmark has no weight."""
    pairs = [labels(outcome, h) for h in horizons]
    at = outcome["landmark_h"].to_numpy(dtype=float)
    open_ = np.column_stack([h.window(at) > 0 for h in horizons])
    status = np.column_stack([y for y, _ in pairs])
    weight = np.column_stack([w for _, w in pairs]) * open_
    return Level(day, deviation, status, weight, pd.factorize(outcome["patient_id"])[0])


@dataclass(frozen=True)
class FittedStack:
    """A stack that has learned.

    Attributes
    ----------
    members
        Fitted to all training rows.
    combiner
        The weights.
    baseline
        Incidence by day of all training rows.
    spread
        Standard deviation of each member's out-of-fold deviation, shape (members, horizons): what a member that is
        missing would typically have moved.
    notes
        Members and folds that could not be fitted, with the reason.
    """

    members: tuple[FittedMember, ...]
    combiner: Combiner
    baseline: DayBaseline
    spread: Floats
    notes: tuple[str, ...] = ()
    takes_inputs: ClassVar[bool] = True

    @property
    def horizons(self) -> list[Horizon]:
        """The horizons that were fitted."""
        return list(self.baseline.log_odds)

    @property
    def parameters(self) -> int:
        """Parameters of the members, their weights, slope, addition and shifts."""
        return sum(m.model.parameters for m in self.members) + len(self.members) + 2 + len(self.combiner.shift)

    def predict(self, table: pd.DataFrame | Inputs, horizon: Horizon | float) -> Floats:
        """Probability of the event within the horizon, never falling as it grows, shape (n,)."""
        position = self._position(horizon)
        return self.risks(table)[:, position]

    def risks(self, table: pd.DataFrame | Inputs) -> Floats:
        """Risks within every fitted horizon, shape (n, horizons)."""
        inputs = Inputs.of(table)
        day, deviation = self._said(inputs)
        return self._coherent(inputs, expit(self.combiner.logit(day, deviation)))

    def weights(self, table: pd.DataFrame | Inputs) -> pd.DataFrame:
        """Weight of each member in each row: zero where it has nothing to see, else sums to one."""
        inputs = Inputs.of(table)
        names = [m.name for m in self.members]
        return pd.DataFrame(self.combiner.weights(self._present(inputs)), index=inputs.table.index, columns=names)

    def contributions(self, table: pd.DataFrame | Inputs, horizon: Horizon | float) -> pd.DataFrame:
        """The forecast taken apart, exactly: log odds of the day, each modality's part, what is left.

        A member that sees several modalities is told by them through its own reasons (where it has none, under its
        name); what its reasons leave over goes to ``shared``.

        Returns
        -------
        DataFrame
            Columns ``day``, the modalities (and whole rungs by name), ``shared``, ``calibration`` (the shift that was
            learned), ``coherence`` (what the other horizons changed). The row sum is the log odds of :meth:`predict`.
        """
        inputs, position = Inputs.of(table), self._position(horizon)
        day, deviation = self._said(inputs)
        added, shift = self.combiner.parts(deviation)
        raw = day + shift + added.sum(axis=1)
        final = self._coherent(inputs, expit(raw))[:, position]
        found = pd.DataFrame({"day": day[:, position]}, index=inputs.table.index)
        scale = self._scale(inputs)
        for j, member in enumerate(self.members):
            for name, part in self._by_modality(member, inputs, position, added[:, j, position], scale[:, j]).items():
                found[name] = found.get(name, 0.0) + part
        found["calibration"] = shift[:, position]
        found["coherence"] = log_odds(final) - log_odds(expit(raw[:, position]))
        return found

    def _by_modality(
        self, member: FittedMember, inputs: Inputs, position: int, added: Floats, scale: Floats
    ) -> dict[str, Floats]:
        if member.modality is not None:
            return {member.modality: added}
        own = member.reasons(inputs, self.horizons[position])
        if own.shape[1] == 0:
            return {member.name: added}
        found: dict[str, Floats] = {}
        for column in own.columns:
            name = owner(str(column), member.table) or "shared"
            found[name] = found.get(name, 0.0) + scale * own[column].to_numpy(dtype=float)
        found["shared"] = found.get("shared", 0.0) + added - sum(found.values())
        return found

    def _scale(self, inputs: Inputs) -> Floats:
        """What a member's log odds are multiplied by, shape (n, members)."""
        weights = self.combiner.weights(self._present(inputs))
        return self.combiner.strength(weights)[:, None] * weights

    def missing(self, table: pd.DataFrame | Inputs, horizon: Horizon | float) -> pd.DataFrame:
        """What each modality that a row does not have would typically have moved (one SD of log odds); 0 where it has.

        The weights are those that would hold if that modality alone were added.
        """
        inputs, position = Inputs.of(table), self._position(horizon)
        present = self._present(inputs)
        moved = {}
        for name in dict.fromkeys(m.modality or m.name for m in self.members):
            mine = np.array([(m.modality or m.name) == name for m in self.members])
            weights = self.combiner.weights(present | mine)
            # Experts of one modality say much the same: their typical movements are added, not their squares.
            size = self.combiner.strength(weights) * (weights[:, mine] @ self.spread[mine, position])
            moved[name] = np.where(present[:, mine].any(axis=1), 0.0, size)
        return pd.DataFrame(moved, index=inputs.table.index)

    def reasons(self, table: pd.DataFrame | Inputs, horizon: Horizon | float) -> pd.DataFrame:
        """Reasons of the members times their weight, summed over features; see :meth:`contributions` for an exact sum.

        A member without reasons of its own enters under its name with all that it adds.
        """
        return self.every_reasons(table, [as_horizon(horizon)])[0]

    def every_reasons(self, table: pd.DataFrame | Inputs, horizons: Sequence[Horizon]) -> list[pd.DataFrame]:
        """:meth:`reasons` of several horizons; what the members said of the rows is asked for once."""
        inputs = Inputs.of(table)
        positions = [self._position(horizon) for horizon in horizons]
        _, deviation = self._said(inputs)
        added, _ = self.combiner.parts(deviation)
        scale = self._scale(inputs)
        return [self._reasons(inputs, position, added[:, :, position], scale) for position in positions]

    def _reasons(self, inputs: Inputs, position: int, added: Floats, scale: Floats) -> pd.DataFrame:
        names: list[str] = []
        parts = [np.empty((len(inputs), 0))]
        for j, member in enumerate(self.members):
            own = member.reasons(inputs, self.horizons[position])
            names += own.columns.tolist() or [member.name]
            parts.append(own.to_numpy(dtype=float) * scale[:, [j]] if own.shape[1] else added[:, [j]])
        sources, values = summed(names, np.hstack(parts))
        return pd.DataFrame(values, index=inputs.table.index, columns=sources)

    def settings(self) -> dict[str, float]:
        """Weights when everything is available, slope, addition, and the spread that was chosen."""
        every = self.combiner.weights(np.ones((1, len(self.members)), dtype=bool))[0]
        found = {f"weight, {m.name}": float(w) for m, w in zip(self.members, every, strict=True)}
        found |= {"slope": float(np.exp(self.combiner.log_slope)), "addition": self.combiner.addition}
        return found | {"spread": self.combiner.spread}

    def to_parts(self) -> Parts:
        """Plain parts (:mod:`icans.forecast.models.parts`)."""
        c = self.combiner
        arrays: Arrays = {"log_weight": c.log_weight, "shift": c.shift, "deviations": self.spread}
        arrays["scale"] = np.array([c.log_slope, c.addition, c.spread])
        children = {f"member{j}": m.to_parts() for j, m in enumerate(self.members)}
        meta: Meta = {"kind": "stack", "members": len(self.members), "notes": list(self.notes)}
        return join(meta, arrays, baseline=baseline_parts(self.baseline), **children)

    def _present(self, inputs: Inputs) -> NDArray[np.bool_]:
        found = np.zeros((len(inputs), len(self.members)), dtype=bool)
        for j, member in enumerate(self.members):
            found[:, j] = member.present(inputs.plain)
        return found

    def _said(self, inputs: Inputs) -> tuple[Floats, Floats]:
        day = self.baseline.logits(inputs.plain, self.horizons)
        said = [m.deviation(inputs, self.horizons) for m in self.members]
        shape = (len(inputs), 0, len(self.horizons))
        return day, np.stack(said, axis=1) if said else np.empty(shape)

    def _coherent(self, inputs: Inputs, risk: Floats) -> Floats:
        at = inputs.plain.landmark_h
        return in_order(risk, np.stack([h.window(at) for h in self.horizons], axis=1))

    def _position(self, horizon: Horizon | float) -> int:
        fitted_for(self.baseline.log_odds, horizon)
        return self.horizons.index(as_horizon(horizon))


def from_parts(meta: Meta, arrays: Arrays) -> FittedStack:
    """The stack again."""
    log_slope, addition, spread = floats(arrays["scale"]).tolist()
    combiner = Combiner(floats(arrays["log_weight"]), log_slope, addition, floats(arrays["shift"]), spread)
    members = tuple(member_from(*child(meta, arrays, f"member{j}")) for j in range(int(meta["members"])))
    baseline = baseline_from(*child(meta, arrays, "baseline"))
    return FittedStack(members, combiner, baseline, floats(arrays["deviations"]), tuple(map(str, meta["notes"])))


def _typical(deviation: Floats) -> Floats:
    """Standard deviation over rows where the member spoke, shape (members, horizons); 0 where it never did."""
    count = np.maximum(np.isfinite(deviation).sum(axis=0), 1)
    mean = np.nansum(deviation, axis=0) / count
    return np.sqrt(np.maximum(np.nansum(deviation**2, axis=0) / count - mean**2, 0.0))
