"""Published results that a population is held against: one row a number, with its bounds and what it is of the model.

``targets.csv`` holds facts (value, bounds, number of patients, identifier of the source) and, in words of
:mod:`icans.population.quantities`, what each is of a simulated population. Rows that the model cannot express carry
the reason instead. Rows marked ``validate`` are for judging alone; nothing that fits may read them
(:func:`read_targets` gives ``calibrate`` rows to :mod:`icans.population.calibrate` by name).

Bounds are those published or computed with the row, else by a rule stated here and nowhere else:

* a share of ``n`` patients: the Wilson 95 % interval;
* a share of an unknown number: 20 % of the value or 10 points, whichever is wider;
* a time in days: 20 % or one day (times are reported in whole days), whichever is wider;
* a median with the width of its interquartile range: the 95 % interval of a median of a normal sample of that width,
  or 20 %, whichever is wider;
* an area under a curve: 0.10 on either side, also where a "range" is that of two scores' point estimates;
* a ratio of odds: a factor of two on either side;
* anything else: 20 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from importlib import resources

import pandas as pd

USES = ("calibrate", "validate")
#: Half widths of the rule for rows without bounds: relative; points; days; area under a curve; factor of a ratio.
RELATIVE, POINTS, DAYS, AREA, FACTOR = 0.20, 10.0, 1.0, 0.10, 2.0
#: Standard error of a median in units of SD/sqrt(n), and the interquartile range of a standard normal.
MEDIAN_SE, NORMAL_IQR, Z95 = 1.2533, 1.349, 1.96


@dataclass(frozen=True, slots=True)
class Target:
    """One published number.

    ``quantity`` is empty where the model cannot express it; ``reason`` then says why. ``rule`` says where the bounds
    come from. Shares are in percent.
    """

    id: str
    study: str
    quantity: str
    scheme: str
    value: float
    lower: float
    upper: float
    unit: str
    rule: str
    n: int | None
    use: str
    doi: str
    reason: str

    @property
    def expressible(self) -> bool:
        """Whether a simulated population has this quantity."""
        return not self.reason


def wilson(percent: float, n: int) -> tuple[float, float]:
    """95 % interval of a share in percent (Wilson 1927, doi 10.1080/01621459.1927.10502953)."""
    share, z2 = percent / 100.0, Z95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return 100.0 * max(middle - half, 0.0), 100.0 * min(middle + half, 1.0)


def rule_bounds(value: float, unit: str, n: int | None, iqr_width: float | None) -> tuple[float, float, str]:
    """Bounds of a row that has none, and the rule in words (see the module)."""
    relative = RELATIVE * abs(value)
    if unit == "percent" and n:
        return (*wilson(value, n), "Wilson, from n")
    if unit == "percent":
        half = max(relative, POINTS)
        return max(value - half, 0.0), min(value + half, 100.0), "20 % or 10 points"
    if unit == "day":
        half = max(relative, DAYS)
        return max(value - half, 0.0), value + half, "20 % or 1 day"
    if unit == "auc":
        return value - AREA, min(value + AREA, 1.0), "0.10"
    if unit == "ratio":
        return value / FACTOR, value * FACTOR, "factor 2"
    if iqr_width and n:
        half = max(relative, Z95 * MEDIAN_SE * iqr_width / NORMAL_IQR / math.sqrt(n))
        return max(value - half, 0.0), value + half, "20 % or 95 % of a median"
    return value - relative, value + relative, "20 %"


def _target(row: pd.Series) -> Target:
    n = None if pd.isna(row["n"]) else int(row["n"])
    published = row["bounds"] != "none" and pd.notna(row["lower"])
    if published and row["unit"] == "auc" and row["bounds"] == "range":
        published = False
    if published:
        lower, upper, rule = float(row["lower"]), float(row["upper"]), str(row["bounds"])
    else:
        width = None if pd.isna(row["iqr_width"]) else float(row["iqr_width"])
        lower, upper, rule = rule_bounds(float(row["value"]), str(row["unit"]), n, width)

    def text(name: str) -> str:
        return "" if pd.isna(row[name]) else str(row[name])

    return Target(
        text("id"), text("study"), text("quantity"), text("scheme"), float(row["value"]), lower, upper, text("unit"),
        rule, n, text("use"), text("doi"), text("reason"),
    )  # fmt: skip


@cache
def _all() -> tuple[Target, ...]:
    file = resources.files(__package__) / "targets.csv"
    with file.open(encoding="utf-8") as handle:
        table = pd.read_csv(handle)
    return tuple(_target(row) for _, row in table.iterrows())


def read_targets(use: str | None = None, *, expressible: bool = True) -> tuple[Target, ...]:
    """Targets in the order of the file.

    Parameters
    ----------
    use
        ``"calibrate"``, ``"validate"`` or None for both.
    expressible
        Only those that the model can express.

    Raises
    ------
    ValueError
        ``use`` is none of these.
    """
    if use is not None and use not in USES:
        raise ValueError(f"use must be one of {USES} or None; got {use!r}")
    return tuple(t for t in _all() if (use in (None, t.use)) and (t.expressible or not expressible))
