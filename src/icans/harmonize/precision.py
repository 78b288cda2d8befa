"""How finely numbers were written down: decimals, grids, and differences in precision between batches."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

#: Decimals looked for; what does not end by then (means of duplicates, converted values) counts as MAX_DECIMALS + 1.
MAX_DECIMALS = 3
#: Share of the values of a batch that must lie on a grid before the batch is said to be written on that grid.
GRID_SHARE = 0.95


def decimals(values: npt.ArrayLike) -> npt.NDArray[np.int8]:
    """Decimals needed to write each value, 0 to ``MAX_DECIMALS + 1``; NaN counts as 0.

    Examples
    --------
    >>> decimals([3.0, 1157.5, 0.25, 1 / 3]).tolist()
    [0, 1, 2, 4]
    """
    array = np.nan_to_num(np.asarray(values, dtype=float))
    found = np.full(array.shape, MAX_DECIMALS + 1, dtype=np.int8)
    for places in range(MAX_DECIMALS, -1, -1):
        scaled = array * 10.0**places
        found[np.abs(scaled - np.round(scaled)) < 1e-6 * np.maximum(1.0, np.abs(scaled))] = places
    return found


def grid(values: npt.ArrayLike, share: float = GRID_SHARE) -> float:
    """The coarsest step 1, 2 or 5 times a power of ten of which ``share`` of the values are multiples.

    NaN when there are no values.
    """
    array = np.asarray(values, dtype=float)
    array = array[np.isfinite(array)]
    if not len(array):
        return float("nan")
    for exponent in range(3, -MAX_DECIMALS - 2, -1):
        for lead in (5.0, 2.0, 1.0):
            step = lead * 10.0**exponent
            scaled = array / step
            if np.mean(np.abs(scaled - np.round(scaled)) < 1e-6 * np.maximum(1.0, np.abs(scaled))) >= share:
                return step
    return 10.0 ** -(MAX_DECIMALS + 1)


def common_precision(frame: pd.DataFrame, by: str = "batch") -> pd.DataFrame:
    """Decimal places that each batch of each analyte was written with, and the coarsest of them.

    Parameters
    ----------
    frame
        Measurements.
    by
        Column that names the batch; rows without one form a batch of their own (``""``).

    Returns
    -------
    DataFrame
        ``analyte, batch, n_rows, decimals, common_decimals, differs``: ``decimals`` is the smallest number that
        is enough for 95 % of the rows of the batch.
    """
    rows = frame[frame["value"].notna()]
    if not len(rows):
        columns = ["analyte", "batch", "n_rows", "decimals", "common_decimals", "differs"]
        return pd.DataFrame(columns=columns)
    work = pd.DataFrame(
        {"analyte": rows["analyte"], "batch": rows[by].fillna(""), "places": decimals(rows["value"].to_numpy())}
    )
    table = work.groupby(["analyte", "batch"], sort=True)["places"].agg(
        n_rows="size", decimals=lambda x: int(np.quantile(x, GRID_SHARE, method="inverted_cdf"))
    )
    table = table.reset_index()
    table["common_decimals"] = table.groupby("analyte")["decimals"].transform("min")
    table["differs"] = table.groupby("analyte")["decimals"].transform("nunique") > 1
    return table


def round_half_even(values: npt.NDArray[np.float64], places: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Each value rounded to its own number of decimals."""
    scale = 10.0 ** places.astype(float)
    return np.round(values * scale) / scale
