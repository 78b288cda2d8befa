"""Intervals for one patient's state probabilities: everything fitted again on bootstrap samples of patients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.forecast.multistate_cox import FittedMultiState, MultiState, one_row
from icans.forecast.states import Spells

Floats = NDArray[np.float64]

#: Samples in which nothing could be fitted are left out; with fewer left than this share there are no intervals.
LEAST_SHARE = 0.8


def refits(
    model: MultiState, table: pd.DataFrame, spells: Spells, n_boot: int = 50, seed: int = 0
) -> list[FittedMultiState]:
    """The model fitted to samples of patients, drawn with repetition (copies are patients of their own).

    Raises
    ------
    NotEstimableError
        More than a fifth of the samples cannot give the model.
    """
    features, at = one_row(table)
    ids = np.sort(features.index.to_numpy(dtype=str))
    rows = {str(p): part for p, part in spells.table.groupby("patient_id")}
    found = []
    for k in range(n_boot):
        drawn = stream(seed, "multistate refit", k).choice(ids, len(ids))
        copies = [f"{p}#{c}" for c, p in enumerate(drawn)]
        index = pd.MultiIndex.from_arrays([copies, at[drawn].to_numpy()], names=["patient_id", "landmark_h"])
        sample = features.loc[drawn].set_axis(index, axis=0)
        parts = [rows[p].assign(patient_id=name) for p, name in zip(drawn, copies, strict=True) if p in rows]
        try:
            found.append(model.fit(sample, Spells(spells.names, pd.concat(parts, ignore_index=True)), seed + k))
        except NotEstimableError:
            continue
    if len(found) < LEAST_SHARE * n_boot:
        raise NotEstimableError(f"only {len(found)} of {n_boot} bootstrap samples could be fitted: no intervals")
    return found


def intervals(
    fits: Sequence[FittedMultiState],
    table: pd.DataFrame,
    state: str | Sequence[str],
    start_h: float,
    times_h: Sequence[float],
    level: float = 0.95,
) -> tuple[Floats, Floats]:
    """Percentiles of the state probabilities over refits, each of shape (n, times, states).

    They hold the model's uncertainty, not the chance that remains when the probabilities are known.
    """
    drawn = np.stack([fit.predict(table, state, start_h, times_h) for fit in fits])
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(drawn, [tail, 100.0 - tail], axis=0)
    return low, high
