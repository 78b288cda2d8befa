"""Phenotypes of neurotoxicity as labels that share what they have in common (:mod:`icans.forecast.shared_ridge`).

Each label keeps its own base rate by landmark. A label that too few patients had is refused by name, with the count;
the others are fitted. The probabilities are those of each label by itself: a patient may have several, and nothing is
said of how they go together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.forecast import preprocess_parts
from icans.forecast.models.base import landmarks, last_value_columns
from icans.forecast.models.logistic import sum_by_source
from icans.forecast.models.parts import Arrays, Meta, Parts, child, floats, join
from icans.forecast.preprocess import Preparation, PrepareSpec, preprocessor
from icans.forecast.ridge import deviance, expit
from icans.forecast.shared_ridge import SharedRidge, fit_path
from icans.forecast.tuning import Rule, choose, patient_folds

Floats = NDArray[np.float64]

PENALTIES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
#: Patients with, and patients known to be without, a label that is forecast at all.
MIN_PATIENTS = 10
#: Rows of all landmarks to which each landmark's base rate is drawn.
BASELINE_ROWS = 5.0


@dataclass(frozen=True)
class PhenotypeModel:
    """Shared ridge on the newest values; one penalty, by grouped inner cross-validation.

    Parameters
    ----------
    tightness
        How many times as tightly a label's own deviations are held as the common effects.
    min_patients
        Patients with (and without) a label below which it is refused.
    penalties, columns, prepare, inner_folds, rule
        As in the logistic model.
    """

    tightness: float = 4.0
    min_patients: int = MIN_PATIENTS
    penalties: tuple[float, ...] = PENALTIES
    columns: Callable[[Sequence[str]], list[str]] = last_value_columns
    prepare: PrepareSpec = field(default_factory=PrepareSpec)
    inner_folds: int = 4
    rule: Rule = "best"

    def fit(self, table: pd.DataFrame, labels: pd.DataFrame, seed: int = 0) -> FittedPhenotypes:
        """Fit to features and labels (:func:`icans.forecast.phenotypes.phenotype_table`) of the same rows.

        Raises
        ------
        NotEstimableError
            No label that enough patients had.
        """
        if not table.index.equals(labels.index):
            raise ValueError("feature table and labels must have the same patients and landmarks in the same order")
        patient = labels.index.get_level_values("patient_id").to_numpy()
        kept, refused = self._choose_labels(labels, patient)
        if not kept:
            raise NotEstimableError("no phenotype can be forecast: " + "; ".join(refused.values()))
        Y = labels[kept].to_numpy(dtype=float)
        best = self._tune(table, Y, patient, seed) if len(self.penalties) > 1 else 0
        stack, X = _Stack.learn(self, table, Y)
        offset = stack.offset(landmarks(table))
        (model,) = fit_path(X, Y, [self.penalties[best]], self.tightness, offset)
        return FittedPhenotypes(stack, kept, model, refused)

    def _choose_labels(self, labels: pd.DataFrame, patient: NDArray[np.object_]) -> tuple[list[str], dict[str, str]]:
        kept, refused = [], {}
        for name in labels.columns:
            value = labels[name].to_numpy(dtype=float)
            had = len(set(patient[value == 1]))
            free = len(set(patient[value == 0]) - set(patient[value == 1]))
            if min(had, free) >= self.min_patients:
                kept.append(str(name))
            else:
                refused[str(name)] = (
                    f"{name}: {had} patients had it, {free} were known not to; {self.min_patients} of each are needed"
                )
        return kept, refused

    def _tune(self, table: pd.DataFrame, Y: Floats, patient: NDArray[np.object_], seed: int) -> int:
        any_ = pd.Series(np.nan_to_num(Y).sum(axis=1) > 0).groupby(patient).max()
        folds = patient_folds(any_, self.inner_folds, stream(seed, "inner folds"))
        mine = folds.reindex(patient).to_numpy()
        losses = np.full((self.inner_folds, len(self.penalties)), np.nan)
        for k in range(self.inner_folds):
            train, test = mine != k, mine == k
            stack, X = _Stack.learn(self, table[train], Y[train])
            try:
                path = fit_path(X, Y[train], self.penalties, self.tightness, stack.offset(landmarks(table[train])))
            except NotEstimableError:
                continue
            outer, offset = stack.matrix(table[test]), stack.offset(landmarks(table[test]))
            known = ~np.isnan(Y[test])
            for j, model in enumerate(path):
                risk = expit(model.logit(outer, offset))[known]
                losses[k, j] = deviance(Y[test][known], risk, np.ones(known.sum()))
        return choose(losses, self.rule)


@dataclass(frozen=True)
class _Stack:
    """Preprocessing, and the base log odds of each label by landmark, shape (landmarks, L)."""

    pipeline: Preparation
    names: list[str]
    columns: list[str]
    at: Floats
    base: Floats

    @classmethod
    def learn(cls, model: PhenotypeModel, table: pd.DataFrame, Y: Floats) -> tuple[_Stack, Floats]:
        """Learn from training rows; and their prepared columns."""
        columns = model.columns(table.columns.tolist())
        pipeline = preprocessor(model.prepare)
        X = pipeline.learn(table[columns])
        own = landmarks(table)
        at = np.unique(own)
        pooled = (np.nansum(Y, axis=0) + 0.5) / ((~np.isnan(Y)).sum(axis=0) + 1.0)
        rate = []
        for one in at:
            rows = Y[own == one]
            rate.append((np.nansum(rows, axis=0) + BASELINE_ROWS * pooled) / ((~np.isnan(rows)).sum(0) + BASELINE_ROWS))
        share = np.array(rate)
        return cls(pipeline, pipeline.names_, columns, at, np.log(share / (1.0 - share))), X

    def matrix(self, table: pd.DataFrame) -> Floats:
        """Prepared columns of any rows."""
        return self.pipeline.matrix(table[self.columns])

    def offset(self, landmark: Floats) -> Floats:
        """Base log odds for rows at these landmarks, shape (n, L); between landmarks interpolated."""
        return np.column_stack([np.interp(landmark, self.at, column) for column in self.base.T])


@dataclass(frozen=True)
class FittedPhenotypes:
    """A fitted model; ``refused`` says, by label, why it is not forecast."""

    stack: _Stack
    labels: list[str]
    model: SharedRidge
    refused: dict[str, str]

    @property
    def parameters(self) -> int:
        """Common effects and every label's deviations."""
        return self.model.common.size + self.model.deviation.size

    def predict(self, table: pd.DataFrame) -> pd.DataFrame:
        """Probability of each label that is forecast, one column a label."""
        logit = self.model.logit(self.stack.matrix(table), self.stack.offset(landmarks(table)))
        return pd.DataFrame(expit(logit), index=table.index, columns=self.labels)

    def reasons(self, table: pd.DataFrame, label: str) -> pd.DataFrame:
        """Contribution of each feature to the log odds of one label.

        Raises
        ------
        NotEstimableError
            The label was refused, or never asked for.
        """
        if label not in self.labels:
            raise NotEstimableError(self.refused.get(label, f"no label {label!r}; there are {self.labels}"))
        effect = self.model.common + self.model.deviation[self.labels.index(label)]
        parts = self.stack.matrix(table) * effect
        return sum_by_source(pd.DataFrame(parts, index=table.index, columns=self.stack.names))

    def settings(self) -> dict[str, float]:
        """The penalty chosen and the number of labels forecast."""
        return {"penalty": self.model.penalty, "labels": float(len(self.labels))}

    def to_parts(self) -> Parts:
        """Plain parts (:mod:`icans.forecast.models.parts`)."""
        meta: Meta = {"kind": "phenotypes", "names": self.stack.names, "columns": self.stack.columns}
        meta |= {"labels": self.labels, "refused": self.refused}
        arrays: Arrays = {"at": self.stack.at, "base": self.stack.base, "penalty": np.array(self.model.penalty)}
        arrays |= {name: getattr(self.model, name) for name in ("intercept", "common", "deviation")}
        return join(meta, arrays, pipeline=preprocess_parts.to_parts(self.stack.pipeline))


def from_parts(meta: Meta, arrays: Arrays) -> FittedPhenotypes:
    """The model again."""
    stack = _Stack(
        preprocess_parts.from_parts(*child(meta, arrays, "pipeline")),
        list(meta["names"]),
        list(meta["columns"]),
        floats(arrays["at"]),
        floats(arrays["base"]),
    )
    effects = [floats(arrays[name]) for name in ("intercept", "common", "deviation")]
    model = SharedRidge(effects[0], effects[1], effects[2], float(floats(arrays["penalty"])))
    return FittedPhenotypes(stack, list(meta["labels"]), model, dict(meta["refused"]))
