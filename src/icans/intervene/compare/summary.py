"""What strategies do, in numbers: shares and means with intervals, paired differences per 1,000, Pareto fronts.

Differences are of the same patients under both strategies, so that what patients differ in cancels out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.random import stream
from icans.intervene.compare.results import StrategyResults

Array = npt.NDArray[np.float64]

Z95 = NormalDist().inv_cdf(0.975)
PER = 1000.0


@dataclass(frozen=True)
class Measure:
    """A number per patient whose mean is told. ``better``: ``less``, ``more`` or empty; ``share``: a yes or no."""

    name: str
    label: str
    value: Callable[[pd.DataFrame], pd.Series]
    better: str = "less"
    share: bool = False


def _column(name: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda t: t[name].astype(float)


def _at_least(name: str, grade: int) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda t: (t[name] >= grade).astype(float)


#: What is told of every strategy, in order.
MEASURES: tuple[Measure, ...] = (
    Measure("icans_any", "ICANS, any grade", _at_least("max_icans_grade", 1), share=True),
    Measure("icans_2", "ICANS, grade 2+", _at_least("max_icans_grade", 2), share=True),
    Measure("icans_3", "ICANS, grade 3+", _at_least("max_icans_grade", 3), share=True),
    Measure("crs_2", "CRS, grade 2+", _at_least("max_crs_grade", 2), share=True),
    Measure("crs_3", "CRS, grade 3+", _at_least("max_crs_grade", 3), share=True),
    Measure("iechs", "IEC-HS", _column("iechs"), share=True),
    Measure("seizure", "Seizure", _column("seizure"), share=True),
    Measure("days_icans_ge2", "Days with ICANS of grade 2+", _column("days_icans_ge2")),
    Measure("icu_days", "Days in intensive care", _column("icu_days")),
    Measure("death", "Death from toxicity or infection", _column("death_probability"), share=True),
    Measure("response", "Complete response", _column("response_probability"), "more", share=True),
    Measure("car_auc_0_28", "CAR T cells, AUC days 0 to 28", _column("car_auc_0_28"), "more"),
    Measure("bcell_aplasia_days", "Days with B-cell aplasia (of 30)", _column("bcell_aplasia_days"), ""),
    Measure("infection_days", "Days with infection", _column("infection_days")),
    Measure("neutropenia_days", "Days with neutropenia", _column("neutropenia_days")),
    Measure("steroid", "Steroid, mg of dexamethasone", _column("steroid_mg_dex_equivalent")),
    Measure("treated", "Treated at all", lambda t: t["treated_at"].notna().astype(float), "", share=True),
    Measure("false_alarm", "Treated without need", _column("false_alarm"), share=True),
    Measure("cost_usd", "Cost, US dollars (assumed prices)", _column("cost_usd")),
)
BY_NAME: Mapping[str, Measure] = {m.name: m for m in MEASURES}


def wilson(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927, doi 10.1080/01621459.1927.10502953)."""
    if n == 0:
        return float("nan"), float("nan")
    z2 = Z95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * np.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def risk_group(table: pd.DataFrame) -> pd.Series:
    """``high burden`` for the third of each product and disease with most tumour, ``other``; by patient, not by arm."""
    people = table.drop_duplicates(["product", "disease", "patient"])
    cut = people.groupby(["product", "disease"])["burden"].quantile(2 / 3)
    limit = pd.MultiIndex.from_frame(table[["product", "disease"]]).map(cut)
    return pd.Series(np.where(table["burden"] > np.asarray(limit, float), "high burden", "other"), index=table.index)


def summary(results: StrategyResults, by: Sequence[str] = ()) -> pd.DataFrame:
    """Mean of every measure under every strategy.

    Parameters
    ----------
    by
        Columns to split by: ``product``, ``disease``, ``risk``.

    Returns
    -------
    Columns of ``by``, strategy, measure, label, n, value, low, high (95 %: Wilson for shares of yes or no, else
    normal).
    """
    rows = []
    for keys, part in _split(results, by):
        for name in results.names:
            mine = part[part["strategy"] == name]
            for measure in MEASURES:
                x = measure.value(mine).to_numpy()
                n, mean = len(x), float(x.mean()) if len(x) else float("nan")
                half = Z95 * float(x.std(ddof=1)) / np.sqrt(n) if n > 1 else float("nan")
                low, high = wilson(mean, n) if measure.share and _binary(x) else (mean - half, mean + half)
                rows.append((*keys, name, measure.name, measure.label, n, mean, low, high))
    return pd.DataFrame(rows, columns=[*by, "strategy", "measure", "label", "n", "value", "low", "high"])


def differences(results: StrategyResults, reference: str, by: Sequence[str] = ()) -> pd.DataFrame:
    """Paired differences from the reference strategy, per 1,000 patients, with 95 % intervals.

    Returns
    -------
    Columns of ``by``, strategy, measure, label, n, difference, low, high.
    """
    rows = []
    for keys, part in _split(results, by):
        base = _ordered(part, reference)
        for name in (s for s in results.names if s != reference):
            mine = _ordered(part, name)
            for measure in MEASURES:
                told = paired(measure, mine, base)
                rows.append((*keys, name, measure.name, measure.label, len(base), *told))
    return pd.DataFrame(rows, columns=[*by, "strategy", "measure", "label", "n", "difference", "low", "high"])


def paired(measure: Measure, mine: pd.DataFrame, base: pd.DataFrame) -> tuple[float, float, float]:
    """Mean difference per 1,000 patients and its 95 % interval; rows of both are the same patients in one order.

    Where nobody differs in a yes or no, at most 3/n do (rule of three: Hanley 1983, doi
    10.1001/jama.1983.03330370053031).
    """
    x, y = measure.value(mine).to_numpy(), measure.value(base).to_numpy()
    d = PER * (x - y)
    if len(d) < 2:
        return float(d.mean()) if len(d) else float("nan"), float("nan"), float("nan")
    half = Z95 * float(d.std(ddof=1)) / np.sqrt(len(d))
    if measure.share and not d.any() and _binary(y):
        half = 3.0 * PER / len(d)
    return float(d.mean()), float(d.mean()) - half, float(d.mean()) + half


def pareto(
    results: StrategyResults, toxicity: str = "icans_3", efficacy: str = "response", *, seed: int = 1,
    resamples: int = 500,
) -> pd.DataFrame:  # fmt: skip
    """Which strategies no other beats on both: less toxicity and more efficacy.

    Returns
    -------
    Columns strategy, toxicity, efficacy, front (on the front of the means), probability (share of bootstrap resamples
    of patients in which it is on the front).
    """
    names = results.names
    tox = np.stack([BY_NAME[toxicity].value(results.of(s)).to_numpy() for s in names])
    eff = np.stack([BY_NAME[efficacy].value(results.of(s)).to_numpy() for s in names])
    rng = stream(seed, "pareto")
    n = tox.shape[1]
    weights = np.stack([rng.multinomial(n, np.full(n, 1.0 / n)) for _ in range(resamples)], axis=1) / n
    each = np.stack([on_front(t, e) for t, e in zip((tox @ weights).T, (eff @ weights).T, strict=True)])
    t, e = tox.mean(axis=1), eff.mean(axis=1)
    return pd.DataFrame({"strategy": names, "toxicity": t, "efficacy": e, "front": on_front(t, e),
                         "probability": each.mean(axis=0)})  # fmt: skip


def on_front(toxicity: Array, efficacy: Array) -> npt.NDArray[np.bool_]:
    """Whether no other point has less toxicity without less efficacy, or more efficacy without more toxicity."""
    less = toxicity[None, :] < toxicity[:, None]
    more = efficacy[None, :] > efficacy[:, None]
    beaten = (less & ~(efficacy[None, :] < efficacy[:, None])) | (more & ~(toxicity[None, :] > toxicity[:, None]))
    return np.asarray(~beaten.any(axis=1))


def _split(results: StrategyResults, by: Sequence[str]) -> list[tuple[tuple[str, ...], pd.DataFrame]]:
    table = results.table[results.table["patient_ok"]]
    if not by:
        return [((), table)]
    if "risk" in by:
        table = table.assign(risk=risk_group(table))
    return [(tuple(map(str, key)), part) for key, part in table.groupby(list(by), sort=True)]


def _ordered(part: pd.DataFrame, strategy: str) -> pd.DataFrame:
    mine = part[part["strategy"] == strategy]
    return mine.sort_values(["product", "disease", "patient"], kind="stable")


def _binary(x: Array) -> bool:
    return bool(np.isin(x, (0.0, 1.0)).all())
