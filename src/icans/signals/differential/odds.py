"""From a case to shares of the diagnoses, the evidence for each, and an answer that may be "cannot tell".

Naive Bayes with two guards: findings that say partly the same are discounted within their group, and every prior and
likelihood is uncertain, so that the shares come with intervals and a lead that is not firm is no answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from icans.core.random import stream
from icans.signals.differential.case import RED_FLAGS, Case
from icans.signals.differential.table import Array, Evidence, decision, diagnoses, evidence, labels, priors

TIAN = ("tian_1", "tian_2")
CANNOT_TELL = "cannot_tell"


@dataclass(frozen=True)
class Weight:
    """What one finding adds.

    Attributes
    ----------
    finding, state, status, source
        The row of the table.
    exponent
        1 for the first of its group (the one that tells most), less for the others.
    log2
        Diagnosis to the doublings that the finding adds, relative to the mean over possible diagnoses.
    """

    finding: str
    state: str
    exponent: float
    log2: dict[str, float]
    status: str
    source: str


@dataclass(frozen=True)
class Differential:
    """The answer.

    Attributes
    ----------
    answer
        A diagnosis, ``"tian"`` (type not told apart) or ``"cannot_tell"``.
    shares, low, high
        Diagnosis to its share with the values of the table, and the 90 % interval over their uncertainty. Odds of a
        table that was not validated; no probability of an illness.
    leads
        How often each diagnosis leads over the draws.
    weights
        The findings, weightiest first.
    reasons
        Why this answer, and which rules were applied, in words.
    """

    answer: str
    shares: dict[str, float]
    low: dict[str, float]
    high: dict[str, float]
    leads: dict[str, float]
    weights: tuple[Weight, ...]
    reasons: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The answer as plain JSON values."""
        return {
            "answer": self.answer,
            "words": labels()[self.answer],
            "shares": self.shares,
            "low": self.low,
            "high": self.high,
            "leads": self.leads,
            "findings": [
                {"finding": w.finding, "state": w.state, "exponent": w.exponent, "log2": w.log2, "status": w.status,
                 "source": w.source} for w in self.weights
            ],
            "reasons": list(self.reasons),
            "validated": False,
        }  # fmt: skip


def differentiate(case: Case, *, draws: int = 2000, seed: int = 1) -> Differential:
    """Shares of the diagnoses, the evidence for each, and an answer.

    Parameters
    ----------
    draws, seed
        Draws of the uncertain table, and their seed.
    """
    names = diagnoses()
    base, base_sd, reasons = _prior(case)
    rows = _discounted([(evidence()[name], state) for name, state in case.findings.items()])
    possible = base > 0
    total = _log(base) + sum((e * np.log(row.states[state]) for row, state, e in rows), np.zeros(len(names)))
    central = _normal(total[None])[0]
    rng = stream(seed, "icans or tian")
    drawn = total + base_sd * rng.standard_normal((draws, len(names)))
    for row, _, exponent in rows:
        drawn += exponent * row.sd * rng.standard_normal((draws, len(names)))
    drawn = _normal(drawn)
    low, high = np.percentile(drawn, [5, 95], axis=0)
    leads = np.bincount(drawn.argmax(axis=1), minlength=len(names)) / draws
    answer, why = _answer(case, central, drawn)

    def named(values: Array) -> dict[str, float]:
        return {name: float(v) for name, v in zip(names, values, strict=True)}

    weights = tuple(_weight(row, state, exponent, possible) for row, state, exponent in rows)
    told = tuple(sorted(weights, key=lambda w: -(max(w.log2.values()) - min(w.log2.values()))))
    return Differential(
        answer, named(central), named(low), named(high), named(leads), told, (*reasons, *why)
    )  # fmt: skip


def _prior(case: Case) -> tuple[Array, float, list[str]]:
    """Shares before any finding, after the rules that exclude."""
    reasons = []
    if case.setting is None:
        shares = np.mean([prior.shares for prior in priors().values()], axis=0)
        sd = max(prior.sd for prior in priors().values())
        reasons.append("whether there is a tumour of the nervous system is not known: a mean of the priors was taken")
    else:
        prior = priors()[case.setting]
        shares, sd = prior.shares.copy(), prior.sd
        if case.setting == "no_tumour":
            reasons.append("no tumour of the nervous system: TIAN is excluded by its definition")
    if not case.cells_given:
        kept = np.array([name in ("sepsis", "drug") for name in diagnoses()])
        shares = np.where(kept, shares, 0.0)
        reasons.append("no immune effector cells were given: ICANS, TIAN and IEC-HS are excluded")
    return shares / shares.sum(), sd, reasons


def _discounted(found: list[tuple[Evidence, str]]) -> list[tuple[Evidence, str, float]]:
    """Findings with exponents: in each group the one that tells most counts whole, the others ever less."""

    def tells(item: tuple[Evidence, str]) -> float:
        values = np.log(item[0].states[item[1]])
        return float(values.max() - values.min())

    met: dict[str, int] = {}
    answer = []
    for row, state in sorted(found, key=lambda item: (-tells(item), item[0].name)):
        order = met.get(row.group, 0)
        met[row.group] = order + 1
        answer.append((row, state, decision("discount") ** order))
    return answer


def _normal(logs: Array) -> Array:
    """Log weights, shape (n, diagnoses), as shares that add up to 1 in every row."""
    weight = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def _log(shares: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(shares))


def _weight(row: Evidence, state: str, exponent: float, possible: np.ndarray) -> Weight:
    values = exponent * np.log2(row.states[state])
    centred = values - values[possible].mean()
    names = diagnoses()
    return Weight(
        row.name, state, exponent, {n: float(v) for n, v, p in zip(names, centred, possible, strict=True) if p},
        row.status, row.source,
    )  # fmt: skip


def _answer(case: Case, shares: Array, drawn: Array) -> tuple[str, list[str]]:
    """The leading diagnosis where it leads firmly."""
    if case.red_flags:
        return CANNOT_TELL, [RED_FLAGS[flag] for flag in case.red_flags]
    if case.setting is None:
        return CANNOT_TELL, ["TIAN needs a tumour of the nervous system: find out first whether there is one"]
    fewest = int(decision("fewest"))
    if len(case.findings) < fewest:
        return CANNOT_TELL, [f"{len(case.findings)} findings are known; at least {fewest} are needed"]
    names = diagnoses()
    best = int(shares.argmax())
    firm = float((drawn.argmax(axis=1) == best).mean())
    if shares[best] >= decision("share") and firm >= decision("leads"):
        return names[best], [f"{labels()[names[best]]} leads with {shares[best]:.0%}, and in {firm:.0%} of the draws"]
    types = [names.index(name) for name in TIAN]
    either = float(shares[types].sum())
    ahead = drawn[:, types].sum(axis=1) > np.delete(drawn, types, axis=1).max(axis=1)
    if either >= decision("share") and float(ahead.mean()) >= decision("leads"):
        return "tian", [f"TIAN has {either:.0%} over both types, no type leads firmly"]
    second = int(np.argsort(shares)[-2])
    first, next_ = (f"{labels()[names[k]]} has {shares[k]:.0%}" for k in (best, second))
    return CANNOT_TELL, [f"{first}, {next_}: no firm lead"]
