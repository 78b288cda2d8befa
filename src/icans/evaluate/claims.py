"""May a model claim a gain? Only against the best of the simpler rivals, on the same patients, with an interval.

The rule was declared with the protocol: a hybrid or an ensemble wins when the interval of its paired difference from
the *best* simpler rival excludes nothing-gained. The best rival is chosen on the same data, which favours the rivals.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from icans.evaluate.performance import METRICS, Measured

#: Rungs that a claim is held against (protocol, comparator ladder: the first five kinds).
SIMPLE = ("prevalence", "crs_rule", "logistic_last", "cox_last", "cox_supermodel", "boosting")


def claims(
    measured: Measured, claimants: Sequence[str], *, rivals: Sequence[str] = SIMPLE, metric: str = "auc_within_fold"
) -> pd.DataFrame:
    """One row for each claimant, task, landmark and horizon.

    Parameters
    ----------
    measured
        From :func:`icans.evaluate.performance.measure`.
    claimants
        Models that might claim a gain.
    rivals
        Models that it is measured against; names beginning with ``score_`` count as rivals, too.
    metric
        What is gained, with a direction (high or low).

    Returns
    -------
    DataFrame
        task, landmark_h, horizon_h, model, best_rival, metric, value, rival_value, difference, low, high, n, events,
        claim: ``gain``, ``loss``, ``no difference shown``, or ``no rival``.

    Raises
    ------
    ValueError
        The metric has no direction.
    """
    direction = METRICS.get(metric, ("", "none"))[1]
    if direction not in ("high", "low"):
        raise ValueError(f"{metric!r} has no better and worse; take one of those that have")
    table = measured.performance()
    table = table[table["metric"] == metric]
    rows: list[dict[str, object]] = []
    compared: dict[str, pd.DataFrame] = {}
    for (task, landmark, horizon), cell in table.groupby(["task", "landmark_h", "horizon_h"], sort=False):
        named = cell["model"].isin(rivals) | cell["model"].str.startswith("score_")
        known = cell[named & cell["value"].notna() & ~cell["model"].isin(claimants)]
        for claimant in claimants:
            mine = cell[cell["model"] == claimant]
            if mine.empty:
                continue
            about = {"task": task, "landmark_h": landmark, "horizon_h": horizon, "model": claimant, "metric": metric}
            about |= {"value": mine["value"].iloc[0], "n": mine["n"].iloc[0], "events": mine["events"].iloc[0]}
            if known.empty:
                rows.append({**about, "claim": "no rival"})
                continue
            best = known.loc[known["value"].idxmax() if direction == "high" else known["value"].idxmin()]
            name = str(best["model"])
            compared.setdefault(name, measured.compare(name))
            rows.append({**about, "best_rival": name, "rival_value": best["value"],
                         **_difference(compared[name], about, direction)})  # fmt: skip
    return pd.DataFrame(rows)


def _difference(differences: pd.DataFrame, about: dict[str, object], direction: str) -> dict[str, object]:
    keys = ["task", "landmark_h", "horizon_h", "model", "metric"]
    row = differences[np.logical_and.reduce([differences[k] == about[k] for k in keys])].iloc[0]
    found = {name: float(row[name]) for name in ("difference", "low", "high")}
    clear = np.isfinite([found["low"], found["high"]]).all() and not found["low"] <= 0 <= found["high"]
    better = (found["difference"] > 0) == (direction == "high")
    claim = "no difference shown" if not clear else "gain" if better else "loss"
    return {**found, "claim": claim}
