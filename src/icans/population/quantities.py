"""What a published number is of a simulated population: incidences, onsets, durations, levels, areas, odds.

A quantity is written in a few words (the column ``quantity`` of ``targets.csv``), optionally with a condition after a
bar: ``inc nt>=3 | crs>=4`` is the share with severe neurotoxicity among those with CRS of grade 4 or more. A
:class:`View` is a population with weights as a study saw it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.population.observe import Array, Graded, Scheme, first_crossing, grade, median, share

Mask = npt.NDArray[np.bool_]

#: Schemes of each toxicity; the first is used where neither the target nor the study names one.
CRS_SCHEMES = ("astct", "lee", "penn")
NT_SCHEMES = ("astct", "cartox", "ctcae", "ctcae_broad", "fda")
HOURS_PER_DAY = 24.0


@dataclass(frozen=True)
class Readings:
    """How a latent state becomes a finding: cuts and the error of reading. See ``schemes.toml``."""

    crs: Mapping[str, Scheme]
    nt: Mapping[str, Scheme]
    cut: Mapping[str, float]


@dataclass(frozen=True)
class View:
    """A simulated population as a study saw it.

    ``series``: output -> shape (n, T); ``times`` in days; ``noise``: reader's error of ``crs`` and ``nt``; ``stray``:
    see :func:`icans.population.observe.grade`; ``treated`` first day of an immunomodulator (NaN: none) and ``steroid``
    whether steroids were given for neurotoxicity.
    """

    times: Array
    series: Mapping[str, Array]
    covariates: pd.DataFrame
    weights: Array
    readings: Readings
    noise: Mapping[str, Array]
    stray: Mapping[str, Array]
    uniform: Mapping[str, Array]
    treated: Array
    steroid: Mask
    crs_scheme: str = "astct"
    nt_scheme: str = "astct"
    cache: dict[str, Any] = field(default_factory=dict)

    def graded(self, toxicity: str, scheme: str = "") -> Graded:
        """CRS or neurotoxicity of every patient under the target's scheme if it is one of this toxicity."""
        known = CRS_SCHEMES if toxicity == "crs" else NT_SCHEMES
        if scheme not in known:
            scheme = self.crs_scheme if toxicity == "crs" else self.nt_scheme
        key = f"{toxicity} {scheme}"
        if key not in self.cache:
            if toxicity == "crs":
                made = grade(self.times, self.series["crs_severity"], self.readings.crs[scheme], self.noise["crs"])
            else:
                made = grade(self.times, self.series["encephalopathy"], self.readings.nt[scheme], self.noise["nt"],
                             self.stray)  # fmt: skip
            self.cache[key] = made
        return self.cache[key]

    def hyperinflammation(self) -> Array:
        """Day of onset of IEC-HS (NaN: none)."""
        if "iec" not in self.cache:
            self.cache["iec"] = first_crossing(self.times, self.series["iechs_drive"], self.readings.cut["iechs"])
        return self.cache["iec"]

    def level(self, name: str, day: float | Array) -> Array:
        """Level of an output at a day (of each patient), between samples by a straight line."""
        series = self.series[name]
        days = np.clip(np.broadcast_to(np.asarray(day, float), (len(series),)), self.times[0], self.times[-1])
        place = np.clip(np.searchsorted(self.times, days, side="right") - 1, 0, len(self.times) - 2)
        part = (days - self.times[place]) / (self.times[place + 1] - self.times[place])
        row = np.arange(len(series))
        low, high = series[row, place], series[row, place + 1]
        return np.asarray(low + part * (high - low))


def evaluate(view: View, quantity: str, scheme: str = "") -> float:
    """The simulated value of a quantity, in the unit of its target; NaN if nobody is left to count.

    Raises
    ------
    KeyError
        No such quantity.
    """
    text, _, condition = (part.strip() for part in quantity.partition("|"))
    weights = view.weights * _condition(view, condition, scheme)
    words = text.split()
    return float(_KINDS[words[0]](view, words[1:], scheme, weights))


def _condition(view: View, text: str, scheme: str) -> Array:
    kept = np.ones(len(view.weights), dtype=bool)
    words = text.split()
    while words:
        word = words.pop(0)
        if word == "no":
            kept &= ~_holds(view, words.pop(0), scheme)
        elif word == "crs":  # "crs 1-2"
            low, high = (int(w) for w in words.pop(0).split("-"))
            top = view.graded("crs", scheme).grade
            kept &= (top >= low) & (top <= high)
        else:
            kept &= _holds(view, word, scheme)
    return kept.astype(float)


def _holds(view: View, word: str, scheme: str) -> Mask:
    """Whether a finding such as ``nt>=3`` or ``iec`` is there."""
    if word in ("iec", "imaging", "slowing", "encephalopathy", "seizure", "protein"):
        return _finding(view, word)
    for sign in (">=", "<=", "=="):
        if sign in word:
            toxicity, level = word.split(sign)
            top = view.graded(toxicity, scheme).grade
            return {">=": top >= int(level), "<=": top <= int(level), "==": top == int(level)}[sign]
    raise KeyError(word)


def _finding(view: View, word: str) -> Mask:
    cut = view.readings.cut
    if word == "iec":
        return np.isfinite(view.hyperinflammation())
    if word == "encephalopathy":  # a term by itself: the latent severity at a cut of its own, without stray events
        seen = view.series["encephalopathy"].max(axis=1) * np.exp(view.noise["nt"])
        return np.asarray(seen >= cut["encephalopathy"])
    if word == "slowing":
        return np.asarray(view.series["eeg_slowing"].max(axis=1) >= cut["slowing"])
    if word == "imaging":  # signal of white matter and basal ganglia: fluid that the barrier let through
        return np.asarray(view.series["bbb_permeability"].max(axis=1) >= cut["imaging"])
    if word == "protein":
        return np.asarray(view.series["qalb_lumbar"].max(axis=1) >= cut["protein_qalb"])
    hazard = cut["seizure_share"] * view.series["SEIZ_HAZ"][:, -1]
    return np.asarray(view.uniform["seizure"] < -np.expm1(-hazard))


def _inc(view: View, words: list[str], scheme: str, w: Array) -> float:
    word = {"eeg": "slowing", "csf": "protein"}.get(words[0], words[0])
    return share(_holds(view, word, scheme), w)


def _onset(view: View, words: list[str], scheme: str, w: Array) -> float:
    if words[0] == "iec":
        return median(np.floor(view.hyperinflammation()), w)
    return median(view.graded(words[0], scheme).onset_day, w)


def _begin(view: View, words: list[str], scheme: str, w: Array) -> float:
    """Median onset in days and their parts, as no chart has it."""
    return median(view.graded(words[0], scheme).onset, w)


def _duration(view: View, words: list[str], scheme: str, w: Array) -> float:
    return median(view.graded(words[0], scheme).duration_days, w)


def _resolved(view: View, words: list[str], scheme: str, w: Array) -> float:
    lasted = view.graded(words[0], scheme).duration_days
    return share(lasted <= float(words[1]), w * np.isfinite(lasted))


def _early(view: View, words: list[str], scheme: str, w: Array) -> float:
    return share(view.graded(words[0], scheme).onset_day <= float(words[1]), w)


def _late(view: View, words: list[str], scheme: str, w: Array) -> float:
    return share(view.graded(words[0], scheme).onset_day > float(words[1]), w)


def _first(view: View, scheme: str) -> Array:
    return np.fmin(view.graded("crs", scheme).onset, view.graded("nt", scheme).onset)


def _either(view: View, words: list[str], scheme: str, w: Array) -> float:
    return share(np.isfinite(_first(view, scheme)), w)


def _first_by(view: View, words: list[str], scheme: str, w: Array) -> float:
    first = _first(view, scheme)
    return share(first <= float(words[-1]) + 1.0, w * np.isfinite(first))


def _free(view: View, words: list[str], scheme: str, w: Array) -> float:
    return share(~(_first(view, scheme) < float(words[0])), w)


def _given(view: View, words: list[str], scheme: str, w: Array) -> float:
    return share(view.steroid, w)


def _regraded(view: View, words: list[str], scheme: str, w: Array) -> float:
    had = view.graded("nt", scheme).grade >= 1
    return share(view.graded("nt", "astct").grade == 0, w * had)


def _lag(view: View, words: list[str], scheme: str, w: Array) -> float:
    """``crs to nt``, ``nt to peak``, ``crs to peak``, ``crs peak to iec``."""
    if words == ["crs", "peak", "to", "iec"]:
        gap = np.floor(view.hyperinflammation()) - np.floor(view.graded("crs", scheme).peak)
        return median(gap, w)
    begin = view.graded(words[0], scheme)
    end = begin.peak if words[2] == "peak" else view.graded(words[2], scheme).onset
    return median(np.floor(end) - np.floor(begin.onset), w)


def _odds(view: View, words: list[str], scheme: str, w: Array) -> float:
    """Odds ratios: ``ratio nt>=3 CD19 BCMA``, ``per doubling EASIX severe``, ``above EASIX severe``."""
    if words[0] == "ratio":
        hit = _holds(view, words[1], scheme)
        target = view.covariates["target"].to_numpy()
        return _odds_of(hit, w * (target == words[2])) / _odds_of(hit, w * (target == words[3]))
    severe = (view.graded("crs", scheme).grade >= 3) | (view.graded("nt", scheme).grade >= 3)
    score = _score(view, "EASIX", 0.0)
    if words[0] == "above":
        above = score > view.readings.cut["easix"]
        return _odds_of(severe, w * above) / _odds_of(severe, w * ~above)
    return float(np.exp(_slope(np.log2(score), severe, w)))


def _odds_of(hit: Mask, w: Array) -> float:
    yes, no = float(w[hit].sum()), float(w[~hit].sum())
    return yes / no if no > 0 else float("nan")


def _slope(x: Array, hit: Mask, w: Array, steps: int = 25) -> float:
    """Slope of a logistic regression on one predictor, by Newton's method."""
    middle = np.average(x, weights=w)
    design = np.column_stack([np.ones_like(x), x - middle])
    beta = np.zeros(2)
    for _ in range(steps):
        p = 1.0 / (1.0 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (w * (hit - p))
        hessian = (design * (w * p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
        beta = beta + np.linalg.solve(hessian, gradient)
    return float(beta[1])


def _score(view: View, name: str, day: float) -> Array:
    """EASIX = LDH x creatinine / platelets; mEASIX has CRP (mg/dL) for creatinine. At the first sample or at a day."""
    ldh, platelets = view.level("LDH", day), view.level("PLT", day)
    if name == "EASIX":
        return ldh * view.level("CREAT", day) / platelets
    return ldh * view.level("CRP", day) / 10.0 / platelets


def _auc(view: View, words: list[str], scheme: str, w: Array) -> float:
    """``auc NFL baseline nt>=1``, ``auc EASIX nt>=2``, ``auc mEASIX day 1 crs>=3``, ``auc FERRITIN day 3 nt>=1``."""
    hit = _holds(view, words[-1], scheme)
    day = float(words[2]) if "day" in words else 0.0
    value = _score(view, words[0], max(day, 0.0)) if words[0].endswith("EASIX") else view.level(words[0], max(day, 0.0))
    return area(value, hit, w)


def area(value: Array, hit: Mask, w: Array) -> float:
    """Weighted area under the receiver operating curve; ties count half."""
    order = np.argsort(value, kind="stable")
    v, h, w = value[order], hit[order], w[order]
    below = np.concatenate([[0.0], np.cumsum(np.where(h, 0.0, w))])
    left, right = np.searchsorted(v, v, side="left"), np.searchsorted(v, v, side="right")
    mean_below = 0.5 * (below[left] + below[right])
    total = float(w[h].sum() * below[-1])
    return float((w[h] * mean_below[h]).sum() / total) if total > 0 else float("nan")


def _marker(view: View, words: list[str], scheme: str, w: Array) -> float:
    """Median level: ``baseline``, ``day 1-2``, ``onset`` and ``after treatment`` (of those who are treated)."""
    name, when = words[0], " ".join(words[1:])
    if when == "baseline":
        return median(view.level(name, 0.0), w)
    if when == "day 1-2":
        return median(view.level(name, 1.5), w)
    treated = np.isfinite(view.treated)
    day = np.where(treated, view.treated, 0.0) + (1.5 if when == "after treatment" else 0.0)
    return median(np.where(treated, view.level(name, day), np.nan), w)


def _peak(view: View, words: list[str], scheme: str, w: Array) -> float:
    return median(view.series[words[0]].max(axis=1), w)


def _tree(view: View, words: list[str], scheme: str, w: Array) -> float:
    """Fever, then IL-6 and MCP-1 in the first 36 hours (Gust 2017) against neurotoxicity of grade 4 and more."""
    cut, early = view.readings.cut, view.times <= 1.5
    positive = np.ones(len(w), dtype=bool)
    for name, key in (("TEMP", "tree_temp"), ("IL6", "tree_il6"), ("MCP1", "tree_mcp1")):
        positive &= view.series[name][:, early].max(axis=1) >= cut[key]
    bad = view.graded("nt", scheme).grade >= 4
    return share(positive, w * bad) if words[0] == "sensitivity" else share(~positive, w * ~bad)


_KINDS: dict[str, Callable[[View, list[str], str, Array], float]] = {
    "inc": _inc, "onset": _onset, "begin": _begin, "duration": _duration, "resolved": _resolved, "early": _early,
    "late": _late, "either": _either, "first": _first_by, "free": _free, "given": _given, "regraded": _regraded,
    "lag": _lag, "odds": _odds, "auc": _auc, "marker": _marker, "peak": _peak, "tree": _tree,
}  # fmt: skip
