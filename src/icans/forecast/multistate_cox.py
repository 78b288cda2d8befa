"""Effects of features on every move between states: transition-specific Cox models, and where a patient will be.

Each move has a baseline of its own on the clock since infusion, and a log hazard ratio for each feature, ridge
penalised; one penalty for all, chosen by the cross-validated partial likelihood of held-out patients (Verweij PJM, van
Houwelingen HC, Stat Med 1993;12:2305). Every time at which somebody moves is a stratum that holds the patients in the
state then, so that delayed entry and coming back to a state need nothing further. A patient's probabilities follow by
the product integral over the patient's own hazards (Andersen PK, Keiding N, Stat Methods Med Res 2002;11:91).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.forecast import preprocess_parts
from icans.forecast.cox import FittedCox, PenalisedCox
from icans.forecast.models.base import last_value_columns
from icans.forecast.models.parts import Arrays, Meta, Parts, child, floats, join
from icans.forecast.models.parts_shared import cox_from, cox_parts
from icans.forecast.partial_likelihood import Design, Point
from icans.forecast.preprocess import Preparation, PrepareSpec, preprocessor
from icans.forecast.states import UNSEEN, Spells
from icans.forecast.tuning import choose, patient_folds

Floats = NDArray[np.float64]

PENALTIES = (10.0, 3.0, 1.0, 0.3, 0.1)
#: Patients who made a move; with fewer, the move has a baseline and no effects of features.
MIN_PATIENTS = 10
#: Rows (patients at risk, over all times of moves) beyond which times should be rounded to days first.
MAX_ROWS = 3_000_000
#: A step of one is held just below it, so that its log exists.
MAX_STEP = 1.0 - 1e-6


@dataclass(frozen=True)
class MultiState:
    """Penalised transition-specific Cox models on features known at the start (one row a patient).

    Parameters
    ----------
    penalties
        Tried, per event of a move, strongest first.
    columns, prepare, inner_folds
        As in the Cox supermodel.
    """

    penalties: tuple[float, ...] = PENALTIES
    columns: Callable[[Sequence[str]], list[str]] = last_value_columns
    prepare: PrepareSpec = field(default_factory=PrepareSpec)
    inner_folds: int = 4

    def fit(self, table: pd.DataFrame, spells: Spells, seed: int = 0) -> FittedMultiState:
        """Fit to one row of features a patient (indexed by patient_id, or patient_id and landmark_h) and spells.

        Spells are used from the features' landmark on: what came before it has happened.

        Raises
        ------
        NotEstimableError
            No move, more than one row for a patient, or too many rows at risk.
        """
        features, at = one_row(table)
        used = from_landmark(spells, at)
        if not (used.table["next"] != UNSEEN).any():
            raise NotEstimableError("nobody moves between states after the landmark")
        best = self._tune(features, used, seed) if len(self.penalties) > 1 else 0
        columns = self.columns(features.columns.tolist())
        pipeline = preprocessor(self.prepare)
        X = pd.DataFrame(pipeline.learn(features[columns]), index=features.index)
        moves = {}
        for move, rows in _moves(used):
            x, stratum, event, open_ = _at_risk(used, X, move, rows)
            count = max(int(event.sum()), 1)
            alpha = self.penalties[best] * count
            moves[move] = PenalisedCox(alpha, ties="efron").fit(
                x if open_ else x[:, :0], np.ones(len(x)), event, strata=stratum
            )
        return FittedMultiState(pipeline, pipeline.names_, columns, used.names, moves, self.penalties[best])

    def _tune(self, features: pd.DataFrame, used: Spells, seed: int) -> int:
        moved = used.table.assign(moved=used.table["next"] != UNSEEN).groupby("patient_id")["moved"].sum().clip(upper=3)
        moved = moved.reindex(features.index, fill_value=0)
        folds = min(self.inner_folds, len(moved))
        if folds < 2:
            raise NotEstimableError("one patient: a penalty cannot be chosen")
        fold = patient_folds(moved, folds, stream(seed, "inner folds"))
        losses = np.zeros((folds, len(self.penalties)))
        for k in range(folds):
            training = fold.index[fold != k]
            columns = self.columns(features.columns.tolist())
            pipeline = preprocessor(self.prepare)
            pipeline.learn(features.loc[training, columns])
            X = pd.DataFrame(pipeline.matrix(features[columns]), index=features.index)
            part = used.of(set(training))
            for move, rows in _moves(part):
                x, stratum, event, open_ = _at_risk(part, X, move, rows)
                if not open_:
                    continue
                alphas = [p * max(int(event.sum()), 1) for p in self.penalties]
                path = PenalisedCox(ties="efron").fit_path(alphas, x, np.ones(len(x)), event, strata=stratum)
                whole, inner = (_design(s, X, move) for s in (used, part))
                for j, model in enumerate(path):
                    gain = [Point.at(d, model.coefficients).likelihood for d in (whole, inner)]
                    losses[k, j] -= gain[0] - gain[1]
        return choose(losses, "best")


def one_row(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """Features indexed by patient, and the hour at which they were known."""
    if table.index.nlevels == 1:
        at = pd.Series(0.0, index=table.index.astype(str))
    else:
        patient = table.index.get_level_values("patient_id")
        at = pd.Series(table.index.get_level_values("landmark_h").to_numpy(dtype=float), index=patient)
        table = table.set_axis(patient, axis=0)
    if at.index.has_duplicates:
        raise NotEstimableError("a patient has more than one row of features: choose one landmark")
    return table, at


def from_landmark(spells: Spells, at: pd.Series) -> Spells:
    """The part of the spells after each patient's landmark (patients without one are left out)."""
    table = spells.table[spells.table["patient_id"].isin(at.index)]
    since = table["patient_id"].map(at).to_numpy(dtype=float)
    table = table[table["stop_h"].to_numpy() > since]
    since = table["patient_id"].map(at).to_numpy(dtype=float)
    return Spells(spells.names, table.assign(start_h=np.maximum(table["start_h"], since)).reset_index(drop=True))


def _moves(spells: Spells) -> list[tuple[tuple[int, int], pd.DataFrame]]:
    """Every kind of move and the spells that end with it."""
    seen = spells.table[spells.table["next"] != UNSEEN]
    return [((int(j), int(k)), rows) for (j, k), rows in seen.groupby(["state", "next"], sort=True)]


def _at_risk(
    spells: Spells, X: pd.DataFrame, move: tuple[int, int], rows: pd.DataFrame
) -> tuple[Floats, Floats, NDArray[np.bool_], bool]:
    """Covariates, hour and event of every patient at risk at every hour of a move; whether it has effects."""
    pairs, at, event = risk_pairs(spells, move, rows)
    x = X.reindex(spells.table["patient_id"]).to_numpy(dtype=float)[pairs]
    return x, at, event, rows["patient_id"].nunique() >= MIN_PATIENTS and X.shape[1] > 0


def risk_pairs(
    spells: Spells, move: tuple[int, int], rows: pd.DataFrame
) -> tuple[NDArray[np.intp], Floats, NDArray[np.bool_]]:
    """Spell, hour, and whether it ended so, for every spell at risk at every hour of a move.

    Raises
    ------
    NotEstimableError
        Too many of them: times should be rounded to days.
    """
    table = spells.table
    mine = np.flatnonzero((table["state"] == move[0]).to_numpy())
    start, stop, after = (table[name].to_numpy()[mine] for name in ("start_h", "stop_h", "next"))
    at = np.unique(rows["stop_h"].to_numpy(dtype=float))
    if len(at) * len(mine) > MAX_ROWS:
        raise NotEstimableError(f"{len(at)} different times of one move: round them to days first")
    inside = (start[:, None] < at[None, :]) & (stop[:, None] >= at[None, :])
    spell, hour = np.nonzero(inside)
    return mine[spell], at[hour], (stop[spell] == at[hour]) & (after[spell] == move[1])


def _design(spells: Spells, X: pd.DataFrame, move: tuple[int, int]) -> Design:
    table = spells.table
    rows = table[(table["state"] == move[0]) & (table["next"] == move[1])]
    x, stratum, event, _ = _at_risk(spells, X, move, rows)
    return Design.build(x, np.ones(len(x)), event, np.ones(len(x)), stratum, "efron")


@dataclass(frozen=True)
class FittedMultiState:
    """A Cox model for each move ``(from, to)``, its strata the hours at which it was made."""

    pipeline: Preparation
    names: list[str]
    columns: list[str]
    states: tuple[str, ...]
    moves: dict[tuple[int, int], FittedCox]
    penalty: float

    def predict(
        self, table: pd.DataFrame, state: str | Sequence[str], start_h: float, times_h: Sequence[float]
    ) -> Floats:
        """Probability of each state at each time for patients who are in ``state`` at ``start_h``.

        Parameters
        ----------
        table
            Features, one row a patient.
        state
            One state for all, or one for each row.
        start_h, times_h
            Hours since infusion; times not before the start, rising.

        Returns
        -------
        array
            Shape (n, times, states).
        """
        X = self.pipeline.matrix(table[self.columns])
        current = [state] * len(X) if isinstance(state, str) else list(state)
        unknown = sorted(set(current) - set(self.states))
        if unknown:
            raise NotEstimableError(f"no state {unknown} in the training data; there were {list(self.states)}")
        p = np.zeros((len(X), len(self.states)))
        p[np.arange(len(X)), [self.states.index(s) for s in current]] = 1.0
        times = np.asarray(times_h, dtype=float)
        if len(times) and (np.diff(times, prepend=start_h) < 0).any():
            raise ValueError("times must rise and not lie before the start")
        relative = {
            move: np.exp(np.clip(m.linear_predictor(X[:, : len(m.coefficients)]), -30, 30))
            for move, m in self.moves.items()
        }
        result = np.empty((len(X), len(times), len(self.states)))
        done = 0
        for hour, jumps in self._jumps():
            if hour <= start_h:
                continue
            while done < len(times) and times[done] < hour:
                result[:, done] = p
                done += 1
            if done == len(times):
                break
            p = _step(p, {move: relative[move] * jump for move, jump in jumps.items()})
        result[:, done:] = p[:, None]
        return result

    def _jumps(self) -> list[tuple[float, dict[tuple[int, int], float]]]:
        """Hours, and the baseline hazard of each move made then.

        Steps of whole days are large. They are read as grouped hazards: a patient without effects leaves a state with
        the sum of its steps, as in Aalen-Johansen, one with effects by the hazards of that share.
        """
        found: dict[float, dict[tuple[int, int], float]] = {}
        for move, model in self.moves.items():
            for hour, _, height in model.baseline:
                found.setdefault(float(hour), {})[move] = float(height[-1])  # type: ignore[arg-type]
        for jumps in found.values():
            for j in {move[0] for move in jumps}:
                out = [move for move in jumps if move[0] == j]
                total = sum(jumps[move] for move in out)
                stretch = -np.log1p(-min(total, MAX_STEP)) / total
                for move in out:
                    jumps[move] *= stretch
        return sorted(found.items())

    def effects(self, level: float = 0.95) -> pd.DataFrame:
        """Hazard ratios per SD: from, to, column, ratio, low, high (penalised: drawn to one; intervals likewise)."""
        z, frames = norm.ppf(0.5 + level / 2), []
        for (j, k), model in self.moves.items():
            if not len(model.coefficients):
                continue
            error = np.sqrt(np.diag(np.linalg.inv(model.information)))
            b = model.coefficients
            columns = {"from": self.states[j], "to": self.states[k], "column": self.names, "ratio": np.exp(b)}
            frames.append(pd.DataFrame(columns | {"low": np.exp(b - z * error), "high": np.exp(b + z * error)}))
        names = ["from", "to", "column", "ratio", "low", "high"]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=names)

    def settings(self) -> dict[str, float]:
        """The penalty, and how many moves have effects of features."""
        return {"penalty": self.penalty, "moves": float(sum(len(m.coefficients) > 0 for m in self.moves.values()))}

    def to_parts(self) -> Parts:
        """Plain parts (:mod:`icans.forecast.models.parts`)."""
        meta: Meta = {"kind": "multistate", "names": self.names, "columns": self.columns, "states": list(self.states)}
        meta["moves"] = [list(move) for move in self.moves]
        children = {f"move{i}": cox_parts(model) for i, model in enumerate(self.moves.values())}
        pipeline = preprocess_parts.to_parts(self.pipeline)
        return join(meta, {"penalty": np.array(self.penalty)}, pipeline=pipeline, **children)


def from_parts(meta: Meta, arrays: Arrays) -> FittedMultiState:
    """The model again."""
    return FittedMultiState(
        preprocess_parts.from_parts(*child(meta, arrays, "pipeline")),
        list(meta["names"]),
        list(meta["columns"]),
        tuple(meta["states"]),
        {(int(j), int(k)): cox_from(*child(meta, arrays, f"move{i}")) for i, (j, k) in enumerate(meta["moves"])},
        float(floats(arrays["penalty"])),
    )


def _step(p: Floats, hazard: dict[tuple[int, int], Floats]) -> Floats:
    """One product: who leaves a state, shared over the moves out of it by their hazards."""
    after = p.copy()
    for j in {move[0] for move in hazard}:
        out = {k: h for (i, k), h in hazard.items() if i == j}
        total = np.sum(list(out.values()), axis=0)
        leaving = p[:, j] * -np.expm1(-total)
        after[:, j] -= leaving
        for k, h in out.items():
            after[:, k] += leaving * np.divide(h, total, out=np.zeros_like(h), where=total > 0)
    return after


def markov_check(spells: Spells) -> pd.DataFrame:
    """Does the time already spent in a state change the hazard of leaving it? (If so, the process is not Markov.)

    Returns
    -------
    DataFrame
        from, to, events, ratio_per_day (hazard ratio for each further day in the state), low, high, p. Moves made by
        fewer than ten patients are left out, and those from a state that all entered at the same time.
    """
    rows_out = []
    for move, rows in _moves(spells):
        if rows["patient_id"].nunique() < MIN_PATIENTS:
            continue
        pairs, at, event = risk_pairs(spells, move, rows)
        stay = (at - spells.table["start_h"].to_numpy()[pairs]) / 24.0
        if not (pd.Series(stay).groupby(at).transform("max") > stay + 1e-9).any():
            continue  # all came into the state together: the time in it is the time since infusion
        try:
            model = PenalisedCox(ties="efron").fit(stay[:, None], np.ones(len(at)), event, strata=at)
        except NotEstimableError:
            continue
        b, error = float(model.coefficients[0]), float(model.information[0, 0] ** -0.5)
        bounds = np.exp([b - 1.96 * error, b + 1.96 * error])
        rows_out.append(
            {
                "from": spells.names[move[0]], "to": spells.names[move[1]], "events": int(event.sum()),
                "ratio_per_day": float(np.exp(b)), "low": bounds[0], "high": bounds[1],
                "p": float(2 * norm.sf(abs(b) / error)),
            }
        )  # fmt: skip
    return pd.DataFrame(rows_out, columns=["from", "to", "events", "ratio_per_day", "low", "high", "p"])
