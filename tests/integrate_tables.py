"""Feature tables and outcomes with known truth, for the integration layer and for transfer. All synthetic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from icans.core.random import stream
from icans.forecast.integrate.members import expert_model, experts
from icans.forecast.integrate.stack import Stack
from icans.forecast.outcomes import Horizon

#: Settings that make a logistic model quick to fit.
QUICK = {"penalties": (0.3, 0.01), "inner_folds": 2}
HORIZONS = (Horizon(48.0), Horizon(120.0))
LANDMARKS = (24.0, 72.0)


@dataclass(frozen=True)
class Truth:
    """A feature table with its outcome, and the true risk within each horizon, shape (n, horizons)."""

    table: pd.DataFrame
    outcome: pd.DataFrame
    risk: np.ndarray

    def where(self, rows: np.ndarray) -> Truth:
        chosen = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows)
        return Truth(self.table.iloc[chosen], self.outcome.iloc[chosen].reset_index(drop=True), self.risk[chosen])


def truth(
    n: int,
    seed: int,
    *,
    effects: dict[str, float] | None = None,
    missing: float = 0.4,
    landmarks: tuple[float, ...] = LANDMARKS,
    shift: float | np.ndarray = 0.0,
    slope: float = 1.0,
    product: np.ndarray | None = None,
    censor: float = 0.15,
) -> Truth:
    """Independent traits, one for each modality, that multiply an exponential hazard of onset.

    ``missing``: share of patients without plasma, EEG and mechanistic columns (each on its own, by chance).
    ``shift``, ``slope`` act on the log hazard of each patient: another hospital or product.
    """
    effects = effects or {"static.age_y": 0.6, "lab.il_6.last": 0.8, "eeg.delta": 0.8, "mech.barrier.p": 0.5}
    rng = stream(seed, "truth", n)
    trait = {name: rng.normal(size=n) for name in effects}
    score = np.asarray(shift) + slope * sum(effects[name] * trait[name] for name in effects)
    hazard = np.exp(-5.2 + score)
    onset = rng.exponential(1.0 / hazard)
    rival = rng.exponential(4000.0, n)
    end = np.where(rng.random(n) < censor, rng.uniform(60.0, 400.0, n), 720.0)
    shown = {name: np.exp(v) if name.startswith("lab.") else v for name, v in trait.items()}
    for name in effects:
        if not name.startswith("static"):
            shown[name] = np.where(rng.random(n) < missing, np.nan, shown[name])
    frames, rows, risks = [], [], []
    ids = np.array([f"p{i:05d}" for i in range(n)])
    for at in landmarks:
        stop = np.minimum(np.minimum(onset, rival), end)
        code = np.where(stop == onset, 1, np.where(stop == rival, 2, 0))
        risk_set = stop > at
        frame = pd.DataFrame({"day": at / 24.0, **shown}, index=ids)
        if product is not None:
            frame["static.product"] = product
        frames.append(frame[risk_set].assign(patient_id=ids[risk_set], landmark_h=at))
        rows.append(pd.DataFrame({"patient_id": ids, "landmark_h": at, "time_h": stop - at, "event": code})[risk_set])
        total = hazard + 1 / 4000.0
        risks.append(
            np.column_stack([hazard / total * -np.expm1(-total * h.hours) for h in HORIZONS])[risk_set]
        )  # fmt: skip
    table = pd.concat(frames).set_index(["patient_id", "landmark_h"])
    return Truth(table, pd.concat(rows, ignore_index=True), np.concatenate(risks))


def quick_stack(table: pd.DataFrame, **options: object) -> Stack:
    """The integration layer with experts that try two penalties."""
    model = expert_model(QUICK["penalties"], QUICK["inner_folds"])
    return Stack(experts(table, models={"": model}), folds=3, spreads=(0.0, 2.0), **options)
