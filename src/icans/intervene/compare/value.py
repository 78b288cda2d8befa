"""What a result is worth, and what a faster one is worth.

Two views. **Trigger**: the strategy that waits for the result is run with the assay's turnaround at each latency, the
rest alike. **Decision**: once, at a fixed hour, each patient's risk of severe ICANS is computed from the results that
are there by then; those above a threshold are treated. Each patient's outcome with and without treatment is known
(the same patient, simulated twice), so that what a threshold would have avoided is counted, not modelled; net benefit
of the forecast alone stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import ModelError, Problem
from icans.core.execute import Executor
from icans.evaluate.net_benefit import net_benefit, treat_all
from icans.forecast.ridge import fit_path
from icans.intervene.compare.arm import run_course
from icans.intervene.compare.running import Group, run_strategies
from icans.intervene.compare.summary import BY_NAME, PER, Z95, paired
from icans.intervene.compare.watch import SEVERITY, Known, Ward, make_watch, outputs_for
from icans.intervene.strategy.conditions import Result
from icans.intervene.strategy.results import result_named
from icans.intervene.strategy.rules import StrategyRule
from icans.intervene.strategy.strategy import Strategy
from icans.population import artefact

Array = npt.NDArray[np.float64]

LATENCIES_H = (0.0, 6.0, 12.0, 24.0, 48.0, 72.0)
#: What is counted per 1,000 patients.
COUNTED = ("icans_3", "icu_days", "death", "treated")
#: Threshold probabilities of the decision.
THRESHOLDS = tuple(np.round(np.arange(0.05, 0.61, 0.05), 2).tolist())
#: Ridge penalty of the risk at the decision.
PENALTY = 1e-3


def latency_sweep(
    group: Group, strategy: Strategy, reference: Strategy, seed: int, *, latencies_h: Sequence[float] = LATENCIES_H,
    executor: Executor | None = None,
) -> pd.DataFrame:  # fmt: skip
    """What the strategy avoids per 1,000 patients against the reference, by turnaround of the results it waits for.

    Returns
    -------
    Columns latency_h, measure, difference, low, high (95 %, paired), of :data:`COUNTED`.

    Raises
    ------
    ModelError
        The strategy waits for no result.
    """
    analytes = [a for a in strategy.analytes if result_named(a).analyte]
    if not analytes:
        raise ModelError([Problem("latency", None, strategy.name, None, "a strategy that waits for a result",
                                  "Name one with { result = ... } in a rule.")])  # fmt: skip
    base = run_strategies(group, [reference], seed, executor=executor)
    rows = []
    for latency in latencies_h:
        ward = Ward(seed=seed, latency_h=dict.fromkeys(analytes, float(latency)))
        fresh = replace(strategy, rules=tuple(_waiting(rule, float(latency)) for rule in strategy.rules))
        found = run_strategies(group, [fresh], seed, executor=executor, ward=ward)
        for name in COUNTED:
            told = paired(BY_NAME[name], found.of(strategy.name), base.of(reference.name))
            rows.append((float(latency), name, *told))
    return pd.DataFrame(rows, columns=["latency_h", "measure", "difference", "low", "high"])


def _waiting(rule: StrategyRule, latency_h: float) -> StrategyRule:
    """The rule with results allowed to be old enough for this latency: speed is compared, not the rule's patience."""
    when = tuple(replace(c, max_age_h=max(c.max_age_h, latency_h + 30.0)) if isinstance(c, Result) else c
                 for c in rule.when)  # fmt: skip
    return replace(rule, when=when)


@dataclass(frozen=True)
class Decision:
    """A decision at ``at_h`` by the risk of ICANS of grade ``grade`` from ``analytes``; ``treat`` is what follows.

    Those who have the grade by then are not decided upon.
    """

    treat: Strategy
    otherwise: Strategy
    analytes: tuple[str, ...]
    at_h: float = 72.0
    grade: int = 3


def decision_curve(
    group: Group, decision: Decision, seed: int, *, latencies_h: Sequence[float] = (0.0, 24.0, 72.0),
    thresholds: Sequence[float] = THRESHOLDS, learn: int = 1000, executor: Executor | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Value of deciding by risk, by latency and threshold; risks are learned on other patients.

    Returns
    -------
    Columns latency_h (NaN: without results, from the bedside alone), threshold, net_benefit, treat_all, treated
    (share), and for every measure of :data:`COUNTED` what is changed per 1,000 patients against nobody treated, with
    ``_low`` and ``_high`` (95 %).
    """
    outcomes = run_strategies(group, [decision.otherwise, decision.treat], seed, executor=executor)
    without, with_ = outcomes.of(decision.otherwise.name), outcomes.of(decision.treat.name)
    known_ok = without["patient"].to_numpy() - group.first
    rows = []
    for latency in (None, *latencies_h):
        ward = Ward(seed=seed, latency_h=dict.fromkeys(decision.analytes, float(latency or 0.0)))
        analytes = () if latency is None else decision.analytes
        X, y, free = _landmark(group, decision, seed, ward, analytes)
        other = replace(group, n=learn, first=1)
        X0, y0, free0 = _landmark(other, decision, seed + 5_000_001, replace(ward, seed=seed + 5_000_001), analytes)
        risk = _risk(X0[free0], y0[free0], X)[known_ok]
        y, free = y[known_ok], free[known_ok]
        curve = net_benefit(np.ones(int(free.sum())), y[free].astype(int), risk[free], 1.0, thresholds)
        everyone = treat_all(np.asarray(y[free].mean()), thresholds)
        for k, threshold in enumerate(thresholds):
            treated = free & (risk >= threshold)
            row = {"latency_h": np.nan if latency is None else float(latency), "threshold": threshold,
                   "net_benefit": float(np.atleast_1d(curve)[k]), "treat_all": float(np.atleast_1d(everyone)[k]),
                   "treated": float(treated.mean())}  # fmt: skip
            for name in COUNTED[:-1]:
                gain = BY_NAME[name].value(with_).to_numpy() - BY_NAME[name].value(without).to_numpy()
                d = PER * np.where(treated, gain, 0.0)
                half = Z95 * float(d.std(ddof=1)) / np.sqrt(len(d))
                row |= {name: float(d.mean()), f"{name}_low": float(d.mean()) - half,
                        f"{name}_high": float(d.mean()) + half}  # fmt: skip
            rows.append(row)
    return pd.DataFrame(rows)


def _landmark(
    group: Group, decision: Decision, seed: int, ward: Ward, analytes: tuple[str, ...]
) -> tuple[Array, Array, npt.NDArray[np.bool_]]:  # fmt: skip
    """Columns at the decision, whether the grade follows, and who is free of it by then."""
    readings = artefact.read().readings
    patients = group.draw(seed, decision.otherwise.drugs)
    course = run_course(decision.otherwise, patients, readings, outputs_for(decision.analytes))
    watch = make_watch(course.times_h, course.series, decision.analytes, patients.numbers, readings, ward)
    known = watch.at(decision.at_h, np.arange(len(patients)))
    severity = np.nan_to_num(np.asarray(course.series[SEVERITY["icans"]]))
    cut = readings.nt["astct"].cuts[decision.grade - 1]
    follows = severity[:, course.times_h > decision.at_h].max(axis=1) >= cut
    free = known.highest["icans"] < decision.grade
    return _columns(known, analytes), follows.astype(float), free & course.ok


def _columns(known: Known, analytes: tuple[str, ...]) -> Array:
    """Bedside signs, and ln of the results with whether there are any."""
    parts = [known.grades["crs"], known.highest["crs"], known.grades["icans"], known.values["temperature"]]
    for name in analytes:
        there = np.isfinite(known.values[name])
        parts += [there.astype(float), np.where(there, np.log(np.where(there, known.values[name], 1.0)), 0.0)]
    return np.stack(parts, axis=1).astype(float)


def _risk(X: Array, y: Array, new: Array) -> Array:
    centre, scale = X.mean(axis=0), X.std(axis=0)
    scale = np.where(scale > 1e-9, scale, np.inf)
    model = fit_path((X - centre) / scale, y, np.ones(len(y)), (PENALTY,))[0]
    return np.asarray(model.probability((new - centre) / scale))


def at_best(curve: pd.DataFrame, measure: str = "death") -> Mapping[float, float]:
    """The most that any threshold avoids, by latency."""
    return {float(k): float(part[measure].min()) for k, part in curve.groupby("latency_h", dropna=False)}
