"""How much a schedule of measurements tells about an outcome: information and discrimination, from simulated patients.

Simulated patients are measured as the schedule says (with the assay's error and limits); a classifier learned on some
of them predicts the outcome in the others. Its gain of log score over the outcome's frequency is a lower bound of the
mutual information between measurements and outcome (Barber & Agakov 2003, NIPS 16), in nats; what no classifier finds
is not counted. No normality or linearity of the model is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import ModelError, Problem
from icans.core.random import stream

Array = npt.NDArray[np.float64]
FOLDS = 5


@dataclass(frozen=True)
class Assay:
    """How an analyte is measured: SD of ln of its error, and lower limit of quantification (unit of the analyte)."""

    sd: float
    lower_limit: float = 0.0


@dataclass(frozen=True)
class Measured:
    """Synthetic measurements of n patients: ``values`` (n, C), ln of the analyte; ``columns``: analyte, time_h."""

    values: Array
    columns: pd.DataFrame

    def pick(
        self, analytes: Sequence[str] | None = None, times_h: Sequence[float] | None = None
    ) -> npt.NDArray[np.int64]:
        """Places of the columns of these analytes at these times (all if None)."""
        keep = np.ones(len(self.columns), dtype=bool)
        if analytes is not None:
            keep &= self.columns["analyte"].isin(list(analytes)).to_numpy()
        if times_h is not None:
            keep &= np.isin(self.columns["time_h"], list(times_h))
        return np.flatnonzero(keep)


def measure(
    courses: Mapping[str, Array], times_h: Array, assays: Mapping[str, Assay], when: Sequence[float], seed: int
) -> Measured:  # fmt: skip
    """Measure analytes of simulated courses (n, T) at the hours ``when``; values below a limit are set to it.

    Errors of an analyte at an hour are the same whatever else is measured.

    Raises
    ------
    ModelError
        An analyte without a course, an hour that was not simulated.
    """
    problems = [
        Problem("measure", None, a, a, "a simulated course", "Simulate it.") for a in assays if a not in courses
    ]
    late = [t for t in when if not np.isclose(times_h, t).any()]
    problems += [Problem("measure", None, "when", f"{t:g}", "a simulated hour", "Add it to the times.") for t in late]
    if problems:
        raise ModelError(problems)
    columns, rows = [], []
    for analyte, assay in assays.items():
        for t in when:
            at = int(np.argmin(np.abs(times_h - t)))
            noise = stream(seed, "assay", analyte, round(float(t) * 60)).standard_normal(len(courses[analyte]))
            value = np.maximum(courses[analyte][:, at], 1e-9) * np.exp(assay.sd * noise)
            columns.append(np.log(np.maximum(value, max(assay.lower_limit, 1e-9))))
            rows.append((analyte, float(t)))
    return Measured(np.stack(columns, axis=1), pd.DataFrame(rows, columns=["analyte", "time_h"]))


def forecast(
    values: Array, outcome: npt.NDArray[np.bool_], folds: npt.NDArray[np.int64], *, trees: bool = True
) -> Array:
    """Out-of-fold probabilities of the outcome (n,): mean logit of boosted trees and of a ridge logistic regression on
    values and their squares; without ``trees`` the latter alone (for searches among many schedules).
    """
    from lightgbm import LGBMClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if values.shape[1] == 0:
        return np.full(len(outcome), float(outcome.mean()))
    out = np.empty(len(outcome))
    centred = values - values.mean(axis=0)
    curved = np.hstack([centred, centred**2])
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        line = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=500))
        line.fit(curved[train], outcome[train])
        logits = [_logit(line.predict_proba(curved[test])[:, 1])]
        if trees:
            grown = LGBMClassifier(
                n_estimators=150, learning_rate=0.05, num_leaves=8, min_child_samples=40, reg_lambda=1.0,
                subsample=0.8, subsample_freq=1, colsample_bytree=0.5, n_jobs=1, random_state=0, verbosity=-1,
                deterministic=True, force_row_wise=True,
            ).fit(values[train], outcome[train])  # fmt: skip
            logits.append(_logit(np.asarray(grown.booster_.predict(values[test]), dtype=float)))
        out[test] = 1.0 / (1.0 + np.exp(-np.mean(logits, axis=0)))
    return out


def _logit(p: Array) -> Array:
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(p / (1.0 - p)))


@dataclass(frozen=True)
class Worth:
    """What a schedule is worth: information (nats) with standard error, AUROC, and the patients' log scores (n,)."""

    nats: float
    nats_se: float
    auroc: float
    scores: Array


def worth(
    measured: Measured, columns: npt.NDArray[np.int64], outcome: npt.NDArray[np.bool_], seed: int, *, trees: bool = True
) -> Worth:
    """What the measurements ``columns`` tell about the outcome (n,); ``trees`` as in :func:`forecast`."""
    from sklearn.metrics import roc_auc_score

    folds = stream(seed, "folds").permutation(len(outcome)) % FOLDS
    p = np.clip(forecast(measured.values[:, columns], outcome, folds, trees=trees), 1e-9, 1 - 1e-9)
    base = float(outcome.mean())
    score = np.where(outcome, np.log(p), np.log1p(-p)) - np.where(outcome, np.log(base), np.log1p(-base))
    area = float(roc_auc_score(outcome, p)) if 0 < outcome.sum() < len(outcome) and len(columns) else 0.5
    return Worth(float(score.mean()), float(score.std() / np.sqrt(len(score))), area, np.asarray(score, dtype=float))


def compare(
    measured: Measured, schedules: Mapping[str, npt.NDArray[np.int64]], outcome: npt.NDArray[np.bool_], seed: int,
    reference: str = "",
) -> pd.DataFrame:  # fmt: skip
    """Schedules side by side: ``schedule, samples, measurements, nats, nats_se, share, auroc, difference,
    difference_se``; the difference of information from ``reference`` is paired by patient. ``share``: part of the
    outcome's entropy.
    """
    found = {name: worth(measured, columns, outcome, seed) for name, columns in schedules.items()}
    p = float(outcome.mean())
    entropy = -(p * np.log(p) + (1 - p) * np.log1p(-p))
    rows = []
    for name, columns in schedules.items():
        w = found[name]
        gap = w.scores - found[reference].scores if reference else np.full(2, np.nan)
        samples = measured.columns["time_h"].iloc[columns].nunique()
        rows.append((name, samples, len(columns), w.nats, w.nats_se, w.nats / entropy, w.auroc, float(gap.mean()),
                     float(gap.std() / np.sqrt(len(gap)))))  # fmt: skip
    names = ["schedule", "samples", "measurements", "nats", "nats_se", "share", "auroc", "difference", "difference_se"]
    return pd.DataFrame(rows, columns=names)


def forward_schedule(
    measured: Measured, groups: npt.NDArray[np.int64], outcome: npt.NDArray[np.bool_], size: int, seed: int,
    start: Sequence[int] = (),
) -> pd.DataFrame:  # fmt: skip
    """Forward selection of groups of columns (blood draws, or analytes) by information: a row per step.

    The search uses the regression alone, the information of each step both learners.
    """
    chosen = list(start)
    rows = []
    while len(chosen) < size:
        rest = [int(g) for g in np.unique(groups) if g not in chosen]
        columns = [np.flatnonzero(np.isin(groups, [*chosen, g])) for g in rest]
        best = int(np.argmax([worth(measured, c, outcome, seed, trees=False).nats for c in columns]))
        chosen.append(rest[best])
        step = worth(measured, columns[best], outcome, seed)
        rows.append((len(chosen), rest[best], step.nats, step.nats_se, step.auroc))
    return pd.DataFrame(rows, columns=["step", "group", "nats", "nats_se", "auroc"])
