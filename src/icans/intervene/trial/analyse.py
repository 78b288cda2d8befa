"""The prespecified analysis of many simulated trials: score, estimate with interval, and decision by hypothesis.

Scores are negative where arm 1 has fewer or later events than arm 0. Estimates: difference of risks (binary), chance
that a patient of the new arm fares better (ordinal), hazard ratio by Peto's one step (times; of the subdistribution
where events compete: patients with the competing event stay at risk to the end of follow-up, which every patient's
follow-up lets one know; Fine and Gray 1999, doi 10.1080/01621459.1999.10474144).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from icans.intervene.trial import scores
from icans.intervene.trial.conduct import DAYS_PER_MONTH, Seen
from icans.intervene.trial.design import TrialDesign

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Z95 = float(norm.isf(0.025))


def filled(design: TrialDesign, seen: Seen) -> tuple[Mask, Mask]:
    """Event of every patient with the missing ones filled in as prespecified, and who counts, (R, n) each.

    ``worst``: missing counts as an event in the new arms and as none in the control.
    """
    rule = design.analysis.missing
    if rule == "complete":
        return seen.hit, ~seen.gone
    guess = {"event": np.ones_like(seen.hit), "no_event": np.zeros_like(seen.hit), "worst": seen.arm > 0}[rule]
    return np.where(seen.gone, guess, seen.hit), np.ones_like(seen.hit)


def binary_counts(
    design: TrialDesign, seen: Seen, inside: Mask, stratum: npt.NDArray[np.int64] | None = None
) -> tuple[Array, Array]:
    """Events and patients by arm and stratum, (R, A, S) each, among those ``inside``."""
    hit, counts = filled(design, seen)
    use = counts & inside
    strata = 1 if stratum is None else int(stratum.max(initial=0)) + 1
    value = (np.zeros_like(seen.arm) if stratum is None else stratum) * 2 + hit
    table = scores.counts(value, seen.arm, use, len(design.arms), 2 * strata)
    table = table.reshape(*table.shape[:2], strata, 2)
    return table[..., 1], table.sum(axis=-1)


def difference(x0: Array, n0: Array, x1: Array, n1: Array) -> tuple[Array, Array, Array]:
    """Difference of risks, new less control, with Newcombe's interval of 95 % (1998, method 10)."""
    p0, low0, high0 = _wilson(x0, n0)
    p1, low1, high1 = _wilson(x1, n1)
    d = p1 - p0
    return d, d - np.hypot(p1 - low1, high0 - p0), d + np.hypot(high1 - p1, p0 - low0)


def _wilson(x: Array, n: Array) -> tuple[Array, Array, Array]:
    n = np.maximum(n, 1.0)
    p = x / n
    middle = (p + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * np.sqrt(p * (1 - p) / n + Z95**2 / (4 * n**2))
    return p, middle - half, middle + half


def followed(design: TrialDesign, seen: Seen, until: Array | None = None) -> tuple[Array, Mask, Mask]:
    """Follow-up in days, whether it ended with the event, and who was enrolled, by a calendar month of each trial."""
    e = design.endpoint
    end = np.full(seen.day.shape, e.days)
    if until is not None:
        end = np.minimum(end, (until[:, None] - seen.people.month) * DAYS_PER_MONTH)
    counted = end > 0
    leaves = np.minimum(seen.people.leaves, np.where(seen.gone, 0.5 * e.days, np.inf))
    stop = np.minimum(end, leaves)
    event_day = seen.day
    if e.kind == "competing":  # the rival takes the chance of the event away but leaves the patient at risk
        event_day = np.where(seen.rival < seen.day, np.inf, seen.day)
        stop = np.where(seen.rival < np.minimum(stop, seen.day), end, stop)
    elif e.against or e.against_hazard:
        stop = np.minimum(stop, seen.rival)
    return np.minimum(event_day, stop), (event_day <= stop) & (event_day < e.days), counted


def pair(
    design: TrialDesign, seen: Seen, new: int, inside: Mask | None = None, until: Array | None = None
) -> dict[str, Array]:
    """Score, estimate and interval of arm ``new`` against the control, (R,) each; ``events`` counts both arms.

    ``inside``: patients that are in this analysis. ``until``: calendar month of an interim look.
    """
    both = (seen.arm == 0) | (seen.arm == new)
    use = both if inside is None else both & inside
    kind = design.endpoint.kind
    if kind in ("time", "competing"):
        time, event, counted = followed(design, seen, until)
        less, variance, events = scores.log_rank_parts(time, event, (seen.arm == new) * 1.0, use & counted)
        safe = np.maximum(variance, 1e-12)
        log_ratio = np.where(variance > 1e-12, less / safe, 0.0)
        half = Z95 / np.sqrt(safe)
        z = np.where(variance > 1e-12, less / np.sqrt(safe), 0.0)
        return {"z": z, "estimate": np.exp(log_ratio), "low": np.exp(log_ratio - half),
                "high": np.exp(np.minimum(log_ratio + half, 50.0)), "events": events}  # fmt: skip
    if kind == "ordinal":
        use = use & ~seen.gone
        levels = 6 if design.arms[0].grades is None else len(design.arms[0].grades)
        table = scores.counts(seen.level, seen.arm, use, len(design.arms), levels)
        z = scores.rank_sum(table[:, 0], table[:, new])
        better = scores.better_chance(table[:, 0], table[:, new])
        spread = np.where(np.abs(z) > 1e-9, np.abs(better - 0.5) / np.maximum(np.abs(z), 1e-9), np.nan)
        return {"z": z, "estimate": better, "low": better - Z95 * spread, "high": better + Z95 * spread,
                "events": table[:, [0, new], 1:].sum(axis=(1, 2))}  # fmt: skip
    stratum = seen.people.site if design.analysis.by_site else None
    x, n = binary_counts(design, seen, use, stratum)
    if stratum is None:
        z = scores.two_proportions(x[:, 0, 0], n[:, 0, 0], x[:, new, 0], n[:, new, 0])
    else:
        z = scores.stratified(x[:, 0], n[:, 0], x[:, new], n[:, new])
    whole_x, whole_n = x.sum(axis=2), n.sum(axis=2)
    d, low, high = difference(whole_x[:, 0], whole_n[:, 0], whole_x[:, new], whole_n[:, new])
    return {"z": z, "estimate": d, "low": low, "high": high, "events": whole_x[:, 0] + whole_x[:, new]}


def p_value(z: Array, sided: int) -> Array:
    """Two-sided, or one-sided for fewer events."""
    return np.asarray(2.0 * norm.sf(np.abs(z)) if sided == 2 else norm.cdf(z))


def decide(p: Array, alpha: float, rule: str) -> Mask:
    """Which hypotheses are rejected, (R, H), keeping the error of the family.

    Bonferroni; Holm 1979; Hochberg 1988, doi 10.1093/biomet/75.4.800; fixed sequence in the order of the columns.
    """
    count = p.shape[1]
    if rule == "none" or count == 1:
        return p <= alpha
    if rule == "bonferroni":
        return p <= alpha / count
    if rule == "fixed_sequence":
        return np.cumprod(p <= alpha, axis=1).astype(bool)
    order = np.argsort(p, axis=1)
    ranked = np.take_along_axis(p, order, axis=1)
    passes = ranked <= alpha / np.arange(count, 0, -1)
    if rule == "holm":
        kept = np.cumprod(passes, axis=1).astype(bool)
    else:  # Hochberg: everything up to the last that passes
        kept = np.cumsum(passes[:, ::-1], axis=1)[:, ::-1] > 0
    out = np.zeros_like(kept)
    np.put_along_axis(out, order, kept, axis=1)
    return out
