"""Operating characteristics: what a design does over many simulated trials, in every scenario.

Trials are done in blocks with random streams of their own, so that results depend neither on the number of workers nor
on how many trials are asked for; every scenario meets the same patients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.execute import Executor, Serial
from icans.core.random import stream
from icans.intervene.trial.bank import Bank
from icans.intervene.trial.closed import monte_carlo_interval
from icans.intervene.trial.conduct import draw_people, read_marker
from icans.intervene.trial.design import TrialDesign
from icans.intervene.trial.engines import Found, hypotheses, run_kind, size_of
from icans.intervene.trial.potential import draw_chances, from_bank, from_model, in_scenario

#: Most patients of one block: memory.
BLOCK_PATIENTS = 60_000


@dataclass(frozen=True)
class Scenario:
    """A state of the world: the share of patients in whom the simulated effect is real (0: none, the null)."""

    name: str
    real: float = 1.0


NULL, AS_DESIGNED = Scenario("no effect", 0.0), Scenario("effect as designed", 1.0)


@dataclass(frozen=True)
class Operating:
    """What was found in one scenario.

    ``found``: arrays of every trial (:data:`icans.intervene.trial.engines.Found`); ``truth``: the effect of each
    hypothesis in this scenario, from all simulated patients, on the scale of the estimate (NaN where it has none);
    ``rates``: share with the event in each arm.
    """

    design: TrialDesign
    scenario: Scenario
    found: Found
    truth: npt.NDArray[np.float64]
    rates: npt.NDArray[np.float64]
    names: tuple[str, ...] = field(default=())

    @property
    def simulations(self) -> int:
        """Trials."""
        return len(self.found["n"])

    @property
    def any_rejected(self) -> float:
        """Share of trials that reject at least one hypothesis: the error of the family where nothing works."""
        return float(self.found["rejected"].any(axis=1).mean())

    def summary(self) -> dict[str, Any]:
        """Plain numbers: shares with their Monte-Carlo intervals, sizes, months, early stops."""
        f, r = self.found, self.simulations
        any_low, any_high = monte_carlo_interval(self.any_rejected, r)
        made: dict[str, Any] = {
            "scenario": self.scenario.name, "simulations": r, "rejects_any": self.any_rejected,
            "rejects_any_low": any_low,
            "rejects_any_high": any_high, "patients_mean": float(f["n"].mean()), "patients_sd": float(f["n"].std()),
            "patients_p10": float(np.quantile(f["n"], 0.1)), "patients_p90": float(np.quantile(f["n"], 0.9)),
            "months_mean": float(f["months"].mean()), "events_mean": float(f["events"].mean()),
            "stopped_for_success": float((f["stopped"] == 1).mean()),
            "stopped_for_futility": float((f["stopped"] == 2).mean()),
        }  # fmt: skip
        for arm, rate in zip(self.design.arms, self.rates):
            made[f"rate: {arm.name}"] = float(rate)
        return made

    def table(self) -> pd.DataFrame:
        """One row a hypothesis: share rejected, estimate, bias, coverage of its interval."""
        rows = []
        for h, name in enumerate(self.names):
            share = float(self.found["rejected"][:, h].mean())
            low, high = monte_carlo_interval(share, self.simulations)
            estimate, truth = self.found["estimate"][:, h], self.truth[h]
            inside = (self.found["low"][:, h] <= truth) & (truth <= self.found["high"][:, h])
            rows.append({
                "scenario": self.scenario.name, "hypothesis": name, "rejected": share, "low": low, "high": high,
                "estimate_mean": float(np.mean(estimate)), "truth": float(truth),
                "coverage": float(np.mean(inside)) if np.isfinite(truth) else float("nan"),
            })  # fmt: skip
        return pd.DataFrame(rows)


def operate(
    design: TrialDesign, bank: Bank | None = None, scenarios: Sequence[Scenario] = (NULL, AS_DESIGNED),
    executor: Executor | None = None, simulations: int | None = None,
) -> list[Operating]:  # fmt: skip
    """Simulate trials.

    Parameters
    ----------
    bank
        Outcomes of virtual patients; None for stated rates, hazards or grades.
    simulations
        Trials of each scenario; those of the design file if None.

    Raises
    ------
    ConfigError
        Nobody in the bank is eligible.
    """
    total = simulations or design.trial.simulations
    n = size_of(design)
    eligible = None if bank is None else bank.eligible(design.patients.eligible)
    block = max(20, BLOCK_PATIENTS // n)
    parts = [(start // block, min(block, total - start)) for start in range(0, total, block)]
    work = partial(_block, design, bank, eligible, tuple(scenarios), n)
    done = (executor or Serial()).map(work, parts, "trials")
    return [_joined(design, scenario, [d[k] for d in done]) for k, scenario in enumerate(scenarios)]


def _block(
    design: TrialDesign, bank: Bank | None, eligible: Any, scenarios: Sequence[Scenario], n: int, part: tuple[int, int]
) -> list[tuple[Found, Mapping[str, Any]]]:  # fmt: skip
    number, rows = part
    rng = stream(design.trial.seed, "trial", number)
    people, site_error = draw_people(rng, rows, n, design.conduct)
    chances = draw_chances(rng, rows, n, site_error, design.conduct.rater_sd)
    if bank is None:
        full = from_model(design, chances)
        value = None
    else:
        full = from_bank(design, bank, eligible, chances)
        value = _marker_value(design, bank, eligible, chances.row)
    marker = read_marker(design, full.positive, value, people)
    out: list[tuple[Found, Mapping[str, Any]]] = []
    for scenario in scenarios:
        potential = in_scenario(full, scenario.real, chances)
        found = run_kind(design, potential, marker, people)
        out.append((found, _totals(design, potential, marker)))
    return out


def _marker_value(design: TrialDesign, bank: Bank, eligible: Any, row: Any) -> Any:
    if design.biomarker is None:
        return None
    patient = eligible[np.minimum((row * len(eligible)).astype(int), len(eligible) - 1)]
    return bank.covariates[design.biomarker.name].to_numpy().astype(float)[patient]


def _totals(design: TrialDesign, potential: Any, marker: Any) -> dict[str, Any]:
    """Sums over all simulated patients, from which true effects are told."""
    hit = potential.hit
    level = potential.level
    levels = [np.bincount(level[..., a].ravel(), minlength=6) for a in range(hit.shape[2])]
    positive = marker == 1
    return {
        "patients": hit.shape[0] * hit.shape[1], "hits": hit.sum(axis=(0, 1)), "levels": np.stack(levels),
        "positive": int(positive.sum()), "hits_positive": hit[positive].sum(axis=0),
    }  # fmt: skip


def _joined(design: TrialDesign, scenario: Scenario, parts: Sequence[tuple[Found, Mapping[str, Any]]]) -> Operating:
    keys = parts[0][0].keys()
    summed = ("allocation", "running")
    found = {k: np.concatenate([p[0][k] for p in parts]) for k in keys if k not in summed}
    found |= {k: np.sum([p[0][k] for p in parts], axis=0) for k in keys if k in summed}
    total = {k: np.sum([p[1][k] for p in parts], axis=0) for k in parts[0][1]}
    rates = total["hits"] / total["patients"]
    return Operating(design, scenario, found, _truth(design, scenario, total, rates), rates, hypotheses(design))


def _truth(design: TrialDesign, scenario: Scenario, total: Mapping[str, Any], rates: npt.NDArray) -> npt.NDArray:
    """True effect of each hypothesis on the scale of its estimate; NaN for hazard ratios that are not constant."""
    kind, d = design.endpoint.kind, design.design
    if kind == "ordinal":
        from icans.intervene.trial.scores import better_chance

        c = total["levels"].astype(float)
        return np.array([better_chance(c[:1], c[a : a + 1])[0] for a in range(1, len(c))])
    if kind in ("time", "competing"):
        hazards = [arm.hazard for arm in design.arms]
        if scenario.real == 0.0:
            return np.ones(len(hazards) - 1)
        proportional = kind == "time" and scenario.real >= 1.0 and None not in hazards
        return np.array([h / hazards[0] if proportional else np.nan for h in hazards[1:]], dtype=float)  # type: ignore[operator]
    if d.kind == "stratified":
        inside = total["hits_positive"] / max(total["positive"], 1)
        return np.array([inside[1] - inside[0], rates[1] - rates[0]])
    if d.kind == "guided":
        return np.array([(total["hits_positive"][1] - total["hits_positive"][0]) / total["patients"]])
    if d.kind == "single_arm" and d.historical_events is None:
        return np.array([rates[1] - (1.0 - float(d.p0 or 0.0))])
    if d.kind == "adaptive" and not d.common_control:
        return rates - rates[0]
    return rates[1:] - rates[0]
