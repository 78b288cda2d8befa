"""How far a risk may be trusted: sample, patient's state, calibration and novelty in one statement.

Four sources, each told and then joined:

``sample``       other training patients would have given another model: root mean square distance of the log odds of
                 refits to bootstrap samples of patients, or of draws from the model's posterior, from the forecast's
``state``        what is not known of the patient's latent state: standard deviation over draws from the mechanistic
                 posterior (:func:`drawn`)
``novelty``      a product, site, assay or range that training has not seen (:mod:`icans.forecast.envelope`, whose rule
                 and figures are documented there)
``calibration``  a Venn-Abers bracket (:class:`VennAbers`): whatever the model is worth, one of the two ends is a
                 calibrated risk; it is wide where few calibration patients had such a risk, in the patient's own group
                 where the group is large enough

Sample, state and novelty are independent and add as variances of the log odds; the interval is the hull of theirs and
the bracket. It speaks of the *risk*. Whether the event then happens stays as uncertain as the risk itself says.

References: Vovk V, Petej I, UAI 2014 (Venn-Abers); Riley RD, Collins GS, Biom J 2023;65:2200302 (instability of risks
over refits), doi 10.1002/bimj.202200302. Citations from memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from icans.core.random import stream
from icans.forecast.envelope import Note, total_sd
from icans.forecast.inputs import Inputs
from icans.forecast.integrate.conformal import POOLED
from icans.forecast.ridge import expit, log_odds

Floats = NDArray[np.float64]

#: A group smaller than this is bracketed by all groups together: an isotonic curve through fewer outcomes jumps
#: between 0 and 1.
MIN_GROUP = 50


@dataclass(frozen=True)
class VennAbers:
    """Brackets of calibrated risks from patients that the model was not fitted to.

    The new patient is added to the calibration patients once as free of the event and once as having it, and the risks
    are made monotone (isotonic regression): the two values at the new patient are the ends of the bracket.

    Attributes
    ----------
    risk, status, weight
        Of the calibration patients of each group: forecast, outcome within the horizon, censoring weight; sorted.
    """

    risk: dict[str, Floats]
    status: dict[str, Floats]
    weight: dict[str, Floats]

    @classmethod
    def fit(
        cls,
        risk: ArrayLike,
        status: ArrayLike,
        weight: ArrayLike | None = None,
        group: Sequence[object] | None = None,
        *,
        min_group: int = MIN_GROUP,
    ) -> VennAbers:
        """Keep the calibration patients of known status; groups below ``min_group`` have no bracket of their own."""
        p, y = np.asarray(risk, dtype=float), np.asarray(status, dtype=float)
        w = np.ones(len(p)) if weight is None else np.asarray(weight, dtype=float)
        labels = np.full(len(p), POOLED, dtype=object) if group is None else np.array([str(g) for g in group], object)
        cells = {POOLED: w > 0}
        for name in np.unique(labels[labels != POOLED]).tolist():
            mine = (labels == name) & (w > 0)
            if mine.sum() >= min_group:
                cells[str(name)] = mine
        found: tuple[dict[str, Floats], dict[str, Floats], dict[str, Floats]] = ({}, {}, {})
        for name, mine in cells.items():
            order = np.argsort(p[mine], kind="stable")
            for store, values in zip(found, (p, y, w), strict=True):
                store[name] = values[mine][order]
        return cls(*found)

    def bracket(
        self, risk: ArrayLike, group: Sequence[object] | None = None
    ) -> tuple[Floats, Floats, NDArray[np.object_]]:
        """Low and high end for each risk, and the group that was used."""
        p = np.asarray(risk, dtype=float)
        wanted = [POOLED] * len(p) if group is None else [str(g) for g in group]
        used = np.array([g if g in self.risk else POOLED for g in wanted], dtype=object)
        ends = np.array([self._ends(value, name) for value, name in zip(p.tolist(), used.tolist(), strict=True)])
        ends = ends.reshape(-1, 2)
        return ends[:, 0], ends[:, 1], used

    def _ends(self, value: float, name: str) -> tuple[float, float]:
        p, y, w = self.risk[name], self.status[name], self.weight[name]
        if not len(p):
            return 0.0, 1.0
        own = float(w.mean())
        found = []
        for outcome, side in ((0.0, "left"), (1.0, "right")):
            at = int(np.searchsorted(p, value, side=side))  # type: ignore[call-overload]
            found.append(_isotonic_at(np.insert(y, at, outcome), np.insert(w, at, own), at))
        return found[0], found[1]


def drawn(inputs: Inputs, draws: int = 20, seed: int = 0) -> Iterator[Inputs]:
    """The inputs with the latent state drawn from its posterior, again and again.

    Every column ``<name>`` beside which there is ``<name>.sd`` is drawn from a normal distribution (a column
    ``<name>.mean`` likewise); what has no standard deviation stays.
    """
    table = inputs.table
    pairs = [(c, f"{c.removesuffix('.mean')}.sd") for c in map(str, table.columns)]
    pairs = [(c, s) for c, s in pairs if s in table.columns and not c.endswith(".sd")]
    for k in range(draws):
        rng = stream(seed, "latent state", k)
        moved = {c: table[c] + table[s].fillna(0.0) * rng.normal(size=len(table)) for c, s in pairs}
        yield replace(inputs, table=table.assign(**moved))


def statement(
    risk: ArrayLike,
    *,
    refits: Sequence[ArrayLike] = (),
    states: Sequence[ArrayLike] = (),
    notes: Sequence[Sequence[Note]] | None = None,
    bracket: tuple[ArrayLike, ArrayLike] | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """One line for each patient.

    Parameters
    ----------
    risk
        The forecast, shape (n,).
    refits
        Risks of the same patients by models refitted to bootstrap samples, or by draws from the posterior
        (:mod:`icans.forecast.shrinkage`: of penalised models refits show a part only).
    states
        Risks of the same patients by the model itself for draws of their latent state.
    notes
        What is new about each patient.
    bracket
        Ends of Venn-Abers brackets.
    level
        Of the interval.

    Returns
    -------
    DataFrame
        risk, low, high; sd_sample, sd_state, sd_novelty (log odds; 0 where a source is not given); calibrated_low and
        calibrated_high (NaN where not given); largest (the source that makes the interval widest).
    """
    p = np.asarray(risk, dtype=float)
    sample = _distance(refits, len(p), log_odds(p))  # the forecast is not the middle of its refits
    state = _distance(states, len(p))
    novelty = np.zeros(len(p)) if notes is None else np.array([total_sd(mine) for mine in notes], dtype=float)
    reach = NormalDist().inv_cdf(0.5 + level / 2) * np.sqrt(sample**2 + state**2 + novelty**2)
    centre = log_odds(p)
    low, high = expit(centre - reach), expit(centre + reach)
    nothing = np.full(len(p), np.nan)
    below, above = (nothing, nothing) if bracket is None else (np.asarray(b, dtype=float) for b in bracket)
    wider = np.fmax(low - below, 0.0) + np.fmax(above - high, 0.0) > high - low
    sds = np.column_stack([sample, state, novelty])
    names = np.array(["sample", "state", "novelty"], dtype=object)[np.argmax(sds, axis=1)]
    return pd.DataFrame(
        {
            "risk": p,
            "low": np.fmin(low, below),
            "high": np.fmax(high, above),
            "sd_sample": sample,
            "sd_state": state,
            "sd_novelty": novelty,
            "calibrated_low": below,
            "calibrated_high": above,
            "largest": np.where(wider, "calibration", np.where(sds.max(axis=1) > 0, names, "none")),
        }
    )


def sentence(line: pd.Series | dict[str, object]) -> str:
    """The statement for people: risk, interval, and what it mostly comes from."""
    words = {
        "sample": "the training patients were few for such a patient",
        "state": "the patient's latent state is not well known",
        "novelty": "something about the patient is new to the model",
        "calibration": "few patients with such a forecast have been followed",
        "none": "its uncertainty was not estimated",
    }
    risk, low, high = (100 * float(line[k]) for k in ("risk", "low", "high"))  # type: ignore[arg-type]
    return (
        f"Risk {risk:.0f} % ({low:.0f} to {high:.0f} %); the interval is mostly because {words[str(line['largest'])]}."
    )


def _distance(draws: Sequence[ArrayLike], n: int, centre: Floats | None = None) -> Floats:
    """Root mean square distance of log odds, shape (n,), from a centre; None: from their mean, a standard deviation."""
    if len(draws) < 2:
        return np.zeros(n)
    found = log_odds(np.stack([np.asarray(d, dtype=float) for d in draws]))
    middle = found.mean(axis=0) if centre is None else centre
    return np.asarray(np.sqrt(((found - middle) ** 2).sum(axis=0) / (len(found) - 1)))


def _isotonic_at(y: Floats, w: Floats, at: int) -> float:
    """Isotonic regression of ``y`` (already in order) at one position: max over starts of min over ends of means."""
    total = np.concatenate([[0.0], np.cumsum(w * y)])
    mass = np.concatenate([[0.0], np.cumsum(w)])
    starts, ends = np.arange(at + 1)[:, None], np.arange(at + 1, len(y) + 1)[None, :]
    means = (total[ends] - total[starts]) / (mass[ends] - mass[starts])
    return float(means.min(axis=1).max())
