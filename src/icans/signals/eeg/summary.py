"""A recording, or a stretch of it, in one number a feature: medians, variability, and how often a pattern is there."""

from __future__ import annotations

import numpy as np
import pandas as pd

#: Columns of a window that are no features.
ABOUT = ("start_s", "stop_s", "usable_share", "heart_share")
#: Features whose worst window matters, too (a pattern that comes and goes).
LEAST = 3


def summarise(windows: pd.DataFrame) -> pd.DataFrame:
    """One row a feature: ``median``, ``iqr`` (variability over windows), ``low``, ``high`` (10th and 90th percentile),
    ``windows`` (that gave a value).

    The interval of the median is a 95 % one from order statistics (binomial; windows taken as independent), in
    ``median_low`` and ``median_high``; NaN with fewer than six windows.
    """
    rows = []
    for name in windows.columns:
        if name in ABOUT:
            continue
        values = np.sort(windows[name].dropna().to_numpy(dtype=float))
        rows.append({"feature": name, **_row(values)})
    return pd.DataFrame(rows).set_index("feature")


def _row(values: np.ndarray) -> dict[str, float]:
    n = len(values)
    if n == 0:
        names = ("median", "iqr", "low", "high", "median_low", "median_high")
        return {**dict.fromkeys(names, float("nan")), "windows": 0}
    q10, q25, q50, q75, q90 = np.percentile(values, [10, 25, 50, 75, 90])
    low, high = _median_interval(values)
    return {
        "median": float(q50), "iqr": float(q75 - q25) if n >= LEAST else float("nan"), "low": float(q10),
        "high": float(q90), "median_low": low, "median_high": high, "windows": n,
    }  # fmt: skip


def _median_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    from scipy.stats import binom

    n = len(values)
    if n < 6:
        return float("nan"), float("nan")
    k = int(binom.ppf((1 - level) / 2, n, 0.5))
    return float(values[max(k - 1, 0)] if k > 0 else values[0]), float(values[n - max(k, 1)])
