"""Reasons of a forecast in plain words: what it rests on, what is missing, nothing about causes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from icans.cohort import vocabulary
from icans.forecast.forecast import Forecast, Reason

#: Contributions (log odds or log hazard) below this are not worth a sentence: a factor of the odds under 1.05.
SMALL = 0.05
#: Words of the size of a contribution, by the least factor of the odds: 1.5, 1.2, below.
SIZES = ((0.405, "much"), (0.182, "somewhat"), (0.0, "slightly"))
DISCLAIMER = (
    "These are the values that the forecast rests on. They are not causes, and changing one need not change the risk."
)
_STATISTICS = {
    "last": "newest {what}", "max": "largest {what}", "min": "smallest {what}", "mean": "mean {what}",
    "slope": "change of {what} a day", "area": "area under {what}", "count": "number of results of {what}",
    "age": "age of the newest {what}",
}  # fmt: skip
_STATIC = {
    "age_y": "age", "sex": "sex", "disease": "disease", "product": "cell product",
    "costimulation": "costimulatory domain", "tumour_burden": "tumour burden", "prior_lines": "prior lines of therapy",
}  # fmt: skip


def feature_words(name: str) -> str:
    """A feature's column name in words: ``lab.crp.max_3d`` is "largest CRP of the last 3 days"."""
    parts = name.split(".")
    if name == "day":
        return "day since infusion"
    if parts[0] == "static" and len(parts) > 1:
        return _STATIC.get(parts[1], parts[1].replace("_", " "))
    if parts[0] == "lab" and len(parts) > 2:
        return _lab_words(parts[1], parts[2])
    if parts[0] == "grade" and len(parts) > 2:
        kinds = {
            "now": "newest {t} grade",
            "max": "highest {t} grade so far",
            "max_d0_3": "highest {t} grade of days 0-3",
        }
        return kinds.get(parts[2], "{t} grade (" + parts[2] + ")").format(t=parts[1])
    if parts[0] == "drug" and len(parts) > 2:
        return f"{parts[1]} {'given in the last 3 days' if parts[2] == 'recent' else 'given so far'}"
    if parts[0] == "score" and len(parts) > 1:
        return f"score {parts[1].replace('_', ' ')}"
    if parts[0] == "mech" and len(parts) > 1:
        return f"model state: {parts[1].replace('_', ' ')}"
    return name.replace("_", " ").replace(".", ", ")


def _lab_words(analyte: str, kind: str) -> str:
    name, _, matrix = analyte.partition("@")
    known = vocabulary.analytes().get(name)
    label = known.label if known is not None else name.replace("_", " ")
    # "Body temperature" within a sentence is "body temperature"; "CRP" and "C-reactive protein" stay.
    label = label[0].lower() + label[1:] if label[1:2].islower() else label
    what = label + (f" in {matrix.upper()}" if matrix else "")
    statistic, _, window = kind.partition("_")
    text = _STATISTICS.get(statistic, statistic + " of {what}").format(what=what)
    if window == "all":
        return f"{text} so far"
    if window.endswith("d") and window[:-1].isdigit():
        return f"{text} of the last {window[:-1]} days"
    return text


def reason_sentences(forecast: Forecast, *, missing: Sequence[str] = ()) -> tuple[str, ...]:
    """A forecast in sentences: the risk and its range, what raised and lowered it, what was missing, the disclaimer.

    Parameters
    ----------
    forecast
        With its reasons.
    missing
        Features (column names) that the patient has no value for.

    Returns
    -------
    tuple of str
        First the risk. "Raised" and "lowered" compare this patient's forecast with that of an average patient of the
        training data; no sentence says why the event happens.
    """
    said = [_risk_sentence(forecast)]
    for word, reasons in (("raised", _up(forecast.reasons)), ("lowered", _down(forecast.reasons))):
        if reasons:
            said.append(f"The forecast is {word}, against that of an average patient, by: {'; '.join(reasons)}.")
    if len(said) == 1:
        said.append("Nothing about this patient moves the forecast noticeably from that of an average patient.")
    unknown = list(dict.fromkeys(feature_words(name) for name in missing))
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        said.append(f"Not available when it was made: {', '.join(unknown[:5])}{more}.")
    return (*said, DISCLAIMER)


def _risk_sentence(forecast: Forecast) -> str:
    start = "SYNTHETIC. " if forecast.synthetic else ""
    spread = "" if np.isnan(forecast.low) else f" (95% interval {forecast.low:.0%} to {forecast.high:.0%})"
    days = f"{forecast.horizon_h / 24:g} day{'' if forecast.horizon_h == 24 else 's'}"
    return (
        f"{start}Forecast at day {forecast.landmark_h / 24:g}: a risk of {forecast.risk:.0%}{spread} within {days}, "
        "under usual care."
    )


def _up(reasons: Iterable[Reason]) -> list[str]:
    return [_words(r) for r in reasons if r.contribution >= SMALL]


def _down(reasons: Iterable[Reason]) -> list[str]:
    return [_words(r) for r in reasons if r.contribution <= -SMALL]


def _words(reason: Reason) -> str:
    size = next(word for least, word in SIZES if abs(reason.contribution) >= least)
    value = "not available" if reason.value is None else reason.value
    shown = f"{value:.3g}" if isinstance(value, float) else str(value)
    return f"{feature_words(reason.feature)} ({shown}), {size}"
