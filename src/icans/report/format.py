"""Numbers and times for people, the same everywhere in the report."""

from __future__ import annotations

import math
import re

from icans.core.times import HOURS_PER_DAY

#: Shown where there is no value.
NOTHING = "–"

#: Names of metrics as they are shown.
METRICS: dict[str, str] = {
    "auroc": "AUROC",
    "auc": "AUROC",
    "auc_within_fold": "AUROC within folds",
    "c_harrell": "Harrell's C",
    "c_uno": "Uno's C",
    "auprc": "Average precision",
    "observed": "Observed incidence",
    "expected": "Mean forecast",
    "brier": "Brier score",
    "brier_scaled": "Scaled Brier score",
    "scaled_brier": "Scaled Brier score",
    "oe": "Observed / expected",
    "oe_ratio": "Observed / expected",
    "calibration_in_the_large": "Calibration in the large",
    "slope": "Calibration slope",
    "calibration_slope": "Calibration slope",
    "intercept": "Calibration intercept",
    "ici": "Calibration error (ICI)",
    "e50": "Calibration error (E50)",
    "e90": "Calibration error (E90)",
    "rps": "Ranked probability score",
    "net_benefit": "Net benefit",
    "somers_d": "Somers' D",
}

#: Value of a metric that says "no better than chance" or "perfectly calibrated": drawn as a line.
REFERENCE_VALUE: dict[str, float] = {
    **dict.fromkeys(("auroc", "auc", "auc_within_fold", "c_harrell", "c_uno"), 0.5),
    **dict.fromkeys(("brier_scaled", "scaled_brier", "intercept", "calibration_in_the_large", "ici"), 0.0),
    **dict.fromkeys(("oe", "oe_ratio", "slope", "calibration_slope"), 1.0),
}


def absent(value: object) -> bool:
    """True for None, NaN, NaT and pandas' NA."""
    if value is None:
        return True
    try:
        return bool(value != value)
    except TypeError:  # pd.NA has no truth value
        return True


def number(value: float | None, digits: int = 2) -> str:
    """A number with fixed decimals and a true minus sign; a dash where there is none."""
    if absent(value) or not math.isfinite(float(value)):  # type: ignore[arg-type]
        return NOTHING
    text = f"{float(value):,.{digits}f}"  # type: ignore[arg-type]
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def significant(value: float | None, digits: int = 3) -> str:
    """A laboratory value with so many significant digits and no exponent: ``1,234``, ``37.2``, ``0.0123``."""
    if absent(value) or not math.isfinite(float(value)):  # type: ignore[arg-type]
        return NOTHING
    value = float(value)  # type: ignore[arg-type]
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return number(value, min(decimals, 6))


def compact(value: float | None, digits: int = 3) -> str:
    """As :func:`significant`, without zeros behind the decimals: ``59``, ``64.5``."""
    text = significant(value, digits)
    return text.rstrip("0").rstrip(".") if "." in text else text


def unit(code: str | None) -> str:
    """A UCUM code as people write it: ``°C``, ``10⁹/L``, ``mmHg``; codes that are plain stay as they are."""
    if absent(code) or code == "?":
        return "unit not declared"
    text = str(code)
    for written, shown in _UNITS.items():
        text = text.replace(written, shown)
    return re.sub(r"10\*(\d+)", lambda m: "10" + m[1].translate(_RAISED), text)


_UNITS = {"Cel": "°C", "[degF]": "°F", "mm[Hg]": "mmHg", "cm[H2O]": "cmH₂O", "[IU]": "IU", "ug": "µg", "umol": "µmol",
          "uL": "µL", "{INR}": "ratio", "{score}": "points", "{FEU}": " FEU", "{cells}": "cells"}  # fmt: skip
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def whole(value: float | None) -> str:
    """A count, thousands separated."""
    return number(value, 0)


def percent(share: float | None, digits: int = 0) -> str:
    """A share (0 to 1) as a percentage."""
    return NOTHING if absent(share) else f"{number(100 * float(share), digits)}%"  # type: ignore[arg-type]


def estimate(value: float | None, low: float | None = None, high: float | None = None, digits: int = 2) -> str:
    """``0.74 (0.66 to 0.81)``; without an interval, the value alone."""
    if absent(value):
        return NOTHING
    if absent(low) or absent(high):
        return number(value, digits)
    return f"{number(value, digits)} ({number(low, digits)} to {number(high, digits)})"


def days(hours: float | None) -> str:
    """Hours as a number of days, without needless decimals: ``3``, ``3.5``."""
    if absent(hours):
        return NOTHING
    text = number(float(hours) / HOURS_PER_DAY, 2)  # type: ignore[arg-type]
    return text.rstrip("0").rstrip(".") if "." in text else text


def landmark(hours: float | None) -> str:
    """``day 3``."""
    return NOTHING if absent(hours) else f"day {days(hours)}"


def horizon(hours: float | None) -> str:
    """``7 days``, ``1 day``."""
    shown = days(hours)
    return shown if shown == NOTHING else f"{shown} day{'' if shown == '1' else 's'}"


def metric(name: str) -> str:
    """The name of a metric for people."""
    return METRICS.get(name, name.replace("_", " "))


def plural(count: int, one: str, many: str | None = None) -> str:
    """``1 patient``, ``3 patients``."""
    return f"{whole(count)} {one if count == 1 else many or one + 's'}"


def joined(words: list[str], last: str = "and") -> str:
    """``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"
