"""What several models have in common, as plain parts: incidence by day, ridge models by horizon, Cox models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from icans.forecast.models.base import DayBaseline
from icans.forecast.models.parts import Array, Arrays, Meta, Parts, floats, horizons_in, horizons_out
from icans.forecast.outcomes import Horizon
from icans.forecast.ridge import RidgeLogistic

if TYPE_CHECKING:
    from icans.forecast.cox import FittedCox


def baseline_parts(baseline: DayBaseline) -> Parts:
    """Incidence by day."""
    log_odds = np.array([baseline.log_odds[h] for h in baseline.log_odds]).reshape(-1, len(baseline.at))
    return {"horizons": horizons_out(list(baseline.log_odds))}, {"at": baseline.at, "log_odds": log_odds}


def baseline_from(meta: Meta, arrays: Arrays) -> DayBaseline:
    """Incidence by day again."""
    horizons = horizons_in(meta["horizons"])
    rows = floats(arrays["log_odds"])
    return DayBaseline(floats(arrays["at"]), dict(zip(horizons, rows, strict=True)))


def ridge_parts(models: Mapping[Horizon, RidgeLogistic]) -> Parts:
    """Ridge logistic models by horizon (the penalty may be infinite)."""
    rows = list(models.values())
    return {"horizons": horizons_out(list(models))}, {
        "intercept": np.array([m.intercept for m in rows], dtype=float),
        "coefficients": np.array([m.coefficients for m in rows], dtype=float).reshape(len(rows), -1),
        "penalty": np.array([m.penalty for m in rows], dtype=float),
    }


def ridge_from(meta: Meta, arrays: Arrays) -> dict[Horizon, RidgeLogistic]:
    """Ridge logistic models again."""
    intercept, penalty = (floats(arrays[name]).tolist() for name in ("intercept", "penalty"))
    rows = [RidgeLogistic(a, b, c) for a, b, c in zip(intercept, floats(arrays["coefficients"]), penalty, strict=True)]
    return dict(zip(horizons_in(meta["horizons"]), rows, strict=True))


def cox_parts(model: FittedCox) -> Parts:
    """A Cox model; strata must be numbers (landmarks, days)."""
    labels = [label for label, _, _ in model.baseline]
    steps = [len(at) for _, at, _ in model.baseline]
    times = [at for _, at, _ in model.baseline]
    heights = [height for _, _, height in model.baseline]
    empty = np.empty(0)
    arrays: dict[str, Array] = {
        "coefficients": model.coefficients,
        "centre": model.centre,
        "information": model.information,
        "log_likelihood": np.array(model.log_likelihood),
        "strata": floats(np.array(labels)),
        "steps": np.array(steps, dtype=np.int64),
        "times": np.concatenate([empty, *times]),
        "heights": np.concatenate([empty, *heights]),
    }
    return {"converged": bool(model.converged)}, arrays


def cox_from(meta: Meta, arrays: Arrays) -> FittedCox:
    """A Cox model again."""
    from icans.forecast.cox import FittedCox  # other models need not wait for it

    cut = np.cumsum(np.asarray(arrays["steps"], dtype=np.int64))[:-1]
    times, heights = (np.split(floats(arrays[name]), cut) for name in ("times", "heights"))
    labels = floats(arrays["strata"]).tolist()
    return FittedCox(
        floats(arrays["coefficients"]),
        floats(arrays["centre"]),
        floats(arrays["information"]),
        float(floats(arrays["log_likelihood"])),
        bool(meta["converged"]),
        tuple(zip(labels, times, heights, strict=True)),
    )
