"""From a grade under one scheme to the probabilities of the grades under another, where only the grade was kept.

No monotone map between schemes exists (a generalised seizure is 3 under ASTCT, 4 under CARTOX, 2 under CTCAE 4.03), so
a grade is never recoded: it becomes a distribution. The joint table of both grades has a Dirichlet prior whose
mean comes from one latent severity that both schemes read with their own cut-points and noise
(``crosswalk.toml``); counts published in classes and paired grades of one's own cohort update it. Where findings
were kept, grade them instead (:mod:`icans.harmonize.grading.cohort`).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import GradingError
from icans.core.random import stream

Array = npt.NDArray[np.float64]

#: Grades 0-4 are translated; a death that the toxicity caused is 5 under every scheme.
GRADES = 5
DEATH = 5
#: Points of the grid over the latent severity, and its half-width in standard deviations: the normal mass
#: beyond 6 is 2e-9, and 2001 points integrate the smooth product of two probits to better than 1e-6.
GRID = np.linspace(-6.0, 6.0, 2001)
#: Rounds of expectation-maximisation, and sweeps of the sampler that are thrown away first.
ROUNDS = 500
BURN_IN = 100


@dataclass(frozen=True)
class Fact:
    """Pairs known only in classes: ``n`` of them in the cells ``mask`` (5, 5) of the joint table."""

    mask: npt.NDArray[np.bool_]
    n: float
    source: str


@dataclass(frozen=True)
class Crosswalk:
    """Joint table of two schemes: rows the observed (``source``) grade, columns the wanted (``target``) grade.

    ``alpha``: Dirichlet prior, (5, 5). ``counts``: complete pairs, (5, 5). ``facts``: pairs in classes.
    """

    toxicity: str
    source: str
    target: str
    alpha: Array
    counts: Array
    facts: tuple[Fact, ...] = ()

    @property
    def pairs(self) -> int:
        """Number of complete pairs that it was fitted on."""
        return int(self.counts.sum())

    def joint(self) -> Array:
        """Joint probabilities (5, 5): posterior mean, the classed counts split by expectation-maximisation."""
        table = self.alpha / self.alpha.sum()
        for _ in range(ROUNDS):
            weight = self.alpha + self.counts
            for fact in self.facts:
                inside = np.where(fact.mask, table, 0.0)
                weight = weight + fact.n * inside / inside.sum()
            new = weight / weight.sum()
            if np.abs(new - table).max() < 1e-12:
                break
            table = new
        return table

    def conditional(self) -> Array:
        """``P(target grade | source grade)``, (5, 5), rows sum to 1."""
        return _rows(self.joint())

    def draws(self, number: int = 1000, *, seed: int = 1) -> Array:
        """Draws of the conditional table from its posterior, (number, 5, 5), by Gibbs sampling."""
        random = stream(seed, "crosswalk", self.toxicity, self.source, self.target)
        table, kept = self.joint(), np.empty((number, GRADES, GRADES))
        for sweep in range(-BURN_IN, number):
            weight = self.alpha + self.counts
            for fact in self.facts:
                inside = np.where(fact.mask, table, 0.0).ravel()
                weight = weight + random.multinomial(round(fact.n), inside / inside.sum()).reshape(GRADES, GRADES)
            table = random.dirichlet(weight.ravel()).reshape(GRADES, GRADES)
            if sweep >= 0:
                kept[sweep] = _rows(np.maximum(table, np.finfo(float).tiny))
        return kept

    def distribution(self, grade: float) -> Array:
        """Probabilities of target grades 0-5 given one source grade, (6,); NaN for NaN.

        A half step is the mean of its two neighbours.
        """
        return _spread(np.array([grade], dtype=float), self.conditional())[0]


@cache
def parameters() -> dict[str, Any]:
    """``crosswalk.toml`` as read."""
    return tomllib.loads((resources.files(__package__) / "crosswalk.toml").read_text(encoding="utf-8"))


def prior(toxicity: str, source: str, target: str, *, strength: float | None = None) -> Crosswalk:
    """The crosswalk that published counts alone give.

    Parameters
    ----------
    toxicity
        ``"ICANS"``, ``"neurotoxicity"`` or ``"CRS"``.
    source, target
        Schemes of ``crosswalk.toml``.
    strength
        Weight of the latent model in patients (None: as in the file).

    Raises
    ------
    GradingError
        No such toxicity or scheme.
    """
    domain = next((d for d in ("neuro", "crs") if toxicity in parameters()[d]["toxicities"]), None)
    if domain is None:
        raise GradingError(f"no crosswalk for {toxicity!r}; there are ICANS, neurotoxicity and CRS")
    schemes = parameters()[domain]["schemes"]
    for name in (source, target):
        if name not in schemes:
            raise GradingError(f"no crosswalk for scheme {name!r} of {toxicity}; there are {sorted(schemes)}")
    settings = parameters()["prior"]
    first, second = (fill_shares(schemes[name]["at_least"]) for name in (source, target))
    mean = latent_table(first, second, parameters()[domain]["loading"])
    if source == target:
        mean = np.diag(mean.sum(axis=1))
    alpha = (settings["strength"] if strength is None else strength) * mean + settings["flat"] / GRADES**2
    return Crosswalk(
        toxicity, source, target, alpha, np.zeros((GRADES, GRADES)), _facts(domain, source, target)
    )  # fmt: skip


def fit(crosswalk: Crosswalk, source_grade: npt.ArrayLike, target_grade: npt.ArrayLike) -> Crosswalk:
    """The crosswalk updated with paired grades of the same patients (or patient-days).

    Pairs with a missing grade, and deaths (5), are left out; a half step counts half for each neighbour.

    Raises
    ------
    GradingError
        Grades outside 0-5.
    """
    a, b = np.asarray(source_grade, dtype=float), np.asarray(target_grade, dtype=float)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"paired grades must be of one length, not {a.shape} and {b.shape}")
    known = np.isfinite(a) & np.isfinite(b)
    if ((a[known] < 0) | (a[known] > DEATH) | (b[known] < 0) | (b[known] > DEATH)).any():
        raise GradingError("grades must be from 0 to 5")
    known &= (a < DEATH) & (b < DEATH)
    counts = _membership(a[known]).T @ _membership(b[known])
    return replace(crosswalk, counts=crosswalk.counts + counts)


def translate(grades: npt.ArrayLike, crosswalk: Crosswalk, *, draws: int = 0, seed: int = 1) -> pd.DataFrame:
    """Distribution of the target grade for every source grade.

    Returns
    -------
    DataFrame
        One row per grade: ``observed``, ``p0`` ... ``p5``, ``severe`` (probability of 3 or more); with
        ``draws`` > 0 also ``severe_low`` and ``severe_high``, the central 95 % of the posterior.
    """
    observed = np.asarray(grades, dtype=float)
    spread = _spread(observed, crosswalk.conditional())
    frame = pd.DataFrame(spread, columns=[f"p{grade}" for grade in range(DEATH + 1)])
    frame.insert(0, "observed", observed)
    frame["severe"] = spread[:, 3:].sum(axis=1)
    if draws:
        levels, place = np.unique(observed, return_inverse=True)
        severe = np.stack([_spread(levels, one)[:, 3:].sum(axis=1) for one in crosswalk.draws(draws, seed=seed)])
        low, high = np.quantile(severe, [0.025, 0.975], axis=0)
        frame["severe_low"], frame["severe_high"] = low[place], high[place]
    return frame


def translate_grades(grades: pd.DataFrame, crosswalk: Crosswalk, *, draws: int = 0, seed: int = 1) -> pd.DataFrame:
    """The rows of a ``grades`` table under the source scheme, each with the distribution of its target grade.

    Returns
    -------
    DataFrame
        ``patient_id, time_h, available_h, toxicity, scheme, target, lower_bound`` and the columns of
        :func:`translate`. The table itself is not changed and no grade is written back.
    """
    mine = grades[(grades["toxicity"] == crosswalk.toxicity) & (grades["scheme"] == crosswalk.source)]
    keys = mine[["patient_id", "time_h", "available_h", "toxicity", "scheme", "lower_bound"]].reset_index(drop=True)
    spread = translate(mine["grade"].to_numpy(dtype=float), crosswalk, draws=draws, seed=seed)
    return pd.concat([keys.assign(target=crosswalk.target), spread], axis=1)


def latent_table(first: Array, second: Array, loading: float) -> Array:
    """Joint table of two schemes that read one normal severity, (5, 5).

    Parameters
    ----------
    first, second
        Share of patients graded at least 1, 2, 3, 4, decreasing.
    loading
        Correlation of a reading with the severity, between 0 and 1.
    """
    from scipy.stats import norm

    noise = np.sqrt(1 - loading**2)

    def grade_given_severity(shares: Array) -> Array:
        at_least = norm.cdf((loading * GRID[:, None] - norm.isf(shares)[None, :]) / noise)
        bounds = np.hstack([np.ones((len(GRID), 1)), at_least, np.zeros((len(GRID), 1))])
        return bounds[:, :-1] - bounds[:, 1:]

    density = norm.pdf(GRID)
    density /= density.sum()
    return grade_given_severity(first).T @ (density[:, None] * grade_given_severity(second))


def fill_shares(shares: list[float]) -> Array:
    """Shares at least 1-4 with the unpublished (0) ones on a straight line of log shares over the grades."""
    values = np.asarray(shares, dtype=float)
    known = np.flatnonzero(values > 0)
    logs = np.log(values[known])
    filled = np.interp(np.arange(4), known, logs)
    beyond = np.arange(4) > known[-1]
    slope = (logs[-1] - logs[-2]) / (known[-1] - known[-2])
    filled[beyond] = logs[-1] + slope * (np.arange(4)[beyond] - known[-1])
    return np.exp(filled)


def _facts(domain: str, source: str, target: str) -> tuple[Fact, ...]:
    weight = parameters()["prior"]["fact_weight"]
    found = []
    for fact in parameters()["facts"]:
        named = (fact["row_scheme"], fact["column_scheme"])
        if fact["domain"] != domain or named not in ((source, target), (target, source)):
            continue
        for cell in fact["counts"]:
            mask = np.zeros((GRADES, GRADES), dtype=bool)
            mask[np.ix_(cell["rows"], cell["columns"])] = True
            found.append(Fact(mask if named == (source, target) else mask.T, weight * cell["n"], fact["source"]))
    return tuple(found)


def _membership(grades: Array) -> Array:
    """(n, 5) weights of grades 0-4; a half step belongs half to each neighbour."""
    low = np.clip(np.floor(grades), 0, GRADES - 1).astype(int)
    high = np.clip(np.ceil(grades), 0, GRADES - 1).astype(int)
    share = grades - np.floor(grades)
    eye = np.eye(GRADES)
    return eye[low] * (1 - share)[:, None] + eye[high] * share[:, None]


def _spread(observed: Array, conditional: Array) -> Array:
    result = np.full((len(observed), DEATH + 1), np.nan)
    alive = np.isfinite(observed) & (observed < DEATH)
    dead = observed == DEATH
    if (np.isfinite(observed) & ((observed < 0) | (observed > DEATH))).any():
        raise GradingError("grades must be from 0 to 5")
    result[alive] = np.hstack([_membership(observed[alive]) @ conditional, np.zeros((alive.sum(), 1))])
    result[dead] = np.eye(DEATH + 1)[DEATH]
    return result


def _rows(table: Array) -> Array:
    return table / table.sum(axis=1, keepdims=True)
