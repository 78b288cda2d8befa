"""What a trial of each kind does with its patients: one function a kind, many trials at once."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, norm

from icans.core.errors import ConfigError, Problem
from icans.intervene.trial import adaptive
from icans.intervene.trial.analyse import Array, Mask, decide, difference, filled, followed, p_value, pair
from icans.intervene.trial.boundaries import boundaries
from icans.intervene.trial.conduct import DAYS_PER_MONTH, People, Whole, allocate, see
from icans.intervene.trial.design import TrialDesign
from icans.intervene.trial.potential import Potential
from icans.intervene.trial.simon import TwoStage, exact_cut, two_stage

#: What an engine returns of R trials: ``rejected`` (R, H), ``n``, ``months``, ``look`` (R,), ``estimate``, ``low``,
#: ``high`` (R, H), ``allocated`` (R, A), ``events`` (R,), ``stopped`` (R,): 0 at the end, 1 success, 2 futility.
Found = dict[str, npt.NDArray]


def hypotheses(design: TrialDesign) -> tuple[str, ...]:
    """What a design tests, in the order of its decisions."""
    names = [arm.name for arm in design.arms]
    if design.design.kind == "stratified":
        return ("marker-positive", "all patients")
    if design.design.kind == "guided":
        return ("guided by the marker against standard",)
    if design.design.kind == "adaptive" and not design.design.common_control:
        return tuple(f"{name} is best" for name in names)
    if design.design.kind == "single_arm":
        return (f"{names[1]} against {names[0]}",)
    return tuple(f"{name} against {names[0]}" for name in names[1:])


def run_kind(design: TrialDesign, potential: Potential, marker: Whole, people: People) -> Found:
    """Trials of the design's kind."""
    engine = {
        "parallel": parallel, "stratified": stratified, "guided": guided, "group_sequential": group_sequential,
        "single_arm": single_arm, "adaptive": run_adaptive,
    }[design.design.kind]  # fmt: skip
    return engine(design, potential, marker, people)


def _ratio(design: TrialDesign) -> tuple[int, ...]:
    return design.design.allocation or (1,) * len(design.arms)


def _end(design: TrialDesign, enrolled: Array) -> Array:
    """Month in which the last outcome is in."""
    return enrolled + (design.endpoint.days + design.conduct.result_lag_days) / DAYS_PER_MONTH


def _fixed(design: TrialDesign, people: People, arm: Whole, parts: list[dict[str, Array]]) -> Found:
    rows, n = people.shape
    alpha, sided = design.analysis.alpha, design.analysis.sided
    p = np.stack([p_value(part["z"], sided) for part in parts], axis=1)
    rejected = decide(p, alpha, design.analysis.multiplicity)
    return {
        "rejected": rejected, "p": p, "n": np.full(rows, float(n)), "months": _end(design, people.month[:, -1]),
        "look": np.zeros(rows, dtype=int), "stopped": np.zeros(rows, dtype=int),
        **{k: np.stack([part[k] for part in parts], axis=1) for k in ("estimate", "low", "high")},
        "events": parts[-1]["events"],
        "allocated": np.stack([(arm == a).sum(axis=1) for a in range(len(design.arms))], axis=1),
    }  # fmt: skip


def parallel(design: TrialDesign, potential: Potential, marker: Whole, people: People) -> Found:
    """Arms side by side; every new arm against the control."""
    arm = allocate(people.order, _ratio(design))
    seen = see(design, potential, arm, marker, people)
    return _fixed(design, people, arm, [pair(design, seen, new) for new in range(1, len(design.arms))])


def stratified(design: TrialDesign, potential: Potential, marker: Whole, people: People) -> Found:
    """Everybody is randomised within strata of the marker; the effect is tested in the positive and in all.

    In all: Cochran-Mantel-Haenszel over the strata.
    """
    from icans.intervene.trial.analyse import binary_counts
    from icans.intervene.trial.scores import stratified as over_strata

    arm = allocate(people.order, _ratio(design), marker)
    seen = see(design, potential, arm, marker, people)
    everyone = np.ones_like(potential.positive)
    x, n = binary_counts(design, seen, everyone, marker)
    whole = pair(design, seen, 1)
    whole["z"] = over_strata(x[:, 0], n[:, 0], x[:, 1], n[:, 1])
    return _fixed(design, people, arm, [pair(design, seen, 1, marker == 1), whole])


def guided(design: TrialDesign, potential: Potential, marker: Whole, people: People) -> Found:
    """A strategy against control for all: marker-positive patients get the new arm, the others the control."""
    positive = (marker == 1)[..., None]

    def under(value: npt.NDArray) -> npt.NDArray:
        return np.concatenate([value[..., :1], np.where(positive, value[..., 1:2], value[..., :1])], axis=2)

    strategy = replace(potential, hit=under(potential.hit), day=under(potential.day), rival=under(potential.rival),
                       level=under(potential.level))  # fmt: skip
    arm = allocate(people.order, _ratio(design))
    seen = see(design, strategy, arm, marker, people)
    return _fixed(design, people, arm, [pair(design, seen, 1)])


@cache
def _bounds(kind: str, looks: tuple[float, ...], alpha: float, sided: int, parameter: float) -> Array:
    return boundaries(kind, looks, alpha, sided, parameter)


def bounds_of(design: TrialDesign) -> Array:
    """Bounds of the score at the planned looks; futility bounds are not binding, so the error holds without them."""
    d, a = design.design, design.analysis
    return _bounds(d.boundary, tuple(d.looks), a.alpha, a.sided, d.parameter)


def group_sequential(design: TrialDesign, potential: Potential, marker: Whole, people: People) -> Found:
    """Two arms with looks at shares of the patients' outcomes, or of the planned events."""
    arm = allocate(people.order, _ratio(design))
    seen = see(design, potential, arm, marker, people)
    rows, n = people.shape
    d = design.design
    timed = design.endpoint.kind in ("time", "competing")
    bound = bounds_of(design)
    out: Found = {"look": np.full(rows, len(d.looks) - 1), "stopped": np.zeros(rows, dtype=int), "n": np.zeros(rows),
                  "months": np.zeros(rows), "events": np.zeros(rows)}  # fmt: skip
    for key in ("estimate", "low", "high"):
        out[key] = np.zeros((rows, 1))
    out["rejected"] = np.zeros((rows, 1), dtype=bool)
    live = np.ones(rows, dtype=bool)
    for k, share in enumerate(d.looks):
        last = k == len(d.looks) - 1
        if timed:
            month = _event_month(design, seen, share, last)
            part = pair(design, seen, 1, until=month)
        else:
            known = n if last else round(share * n)
            month = _end(design, people.month[:, known - 1])
            part = pair(design, seen, 1, np.broadcast_to(np.arange(n) < known, (rows, n)))
        z = part["z"]
        cross = z < -bound[k] if design.analysis.sided == 1 else np.abs(z) > bound[k]
        futile = np.zeros(rows, dtype=bool)
        if d.futility_below is not None and not last:
            futile = (-z < d.futility_below) & ~cross
        ends = live & (cross | futile | last)
        out["look"][ends] = k
        out["stopped"][ends & ~np.asarray(last)] = np.where(cross, 1, 2)[ends & ~np.asarray(last)]
        out["rejected"][ends, 0] = cross[ends]
        out["months"][ends] = month[ends]
        out["n"][ends] = (people.month <= month[:, None]).sum(axis=1)[ends]
        out["events"][ends] = part["events"][ends]
        for key in ("estimate", "low", "high"):
            out[key][ends, 0] = part[key][ends]
        live &= ~ends
    out["allocated"] = np.stack(
        [((arm == a) & (people.month <= out["months"][:, None])).sum(axis=1) for a in range(2)], 1
    )
    return out


def _event_month(design: TrialDesign, seen: object, share: float, last: bool) -> Array:
    """Month in which so many events have been seen; the end of follow-up where there never are so many."""
    people = seen.people  # type: ignore[attr-defined]
    time, event, _ = followed(design, seen)  # type: ignore[arg-type]
    month = np.where(event, people.month + time / DAYS_PER_MONTH, np.inf)
    ordered = np.sort(month, axis=1)
    number = max(1, round(share * (design.design.events_planned or 1)))
    end = _end(design, people.month[:, -1])
    reached = ordered[:, number - 1] if number <= ordered.shape[1] else np.full(len(end), np.inf)
    at = reached + (1e-9 if np.isfinite(reached).any() else 0.0)
    return np.minimum(at, end) if not last else np.where(np.isfinite(at), np.minimum(at, end), end)


def stages(design: TrialDesign) -> TwoStage:
    """Sizes and cuts of a single-arm design; one stage is a first stage that never stops."""
    d = design.design
    if d.p0 is None or d.p1 is None:
        raise ConfigError([Problem("design", None, "design.p0", None, "p0 and p1", "Add them.")])
    if d.method == "exact":
        cut = exact_cut(d.patients, d.p0, design.analysis.alpha)
        return TwoStage(-1, 1, cut - 1, d.patients, float(binom.sf(cut - 1, d.patients, d.p0)),
                        float(binom.sf(cut - 1, d.patients, d.p1)), 0.0, float(d.patients))  # fmt: skip
    return _two_stage(d.p0, d.p1, design.analysis.alpha, d.power, d.method == "simon_minimax")


@cache
def _two_stage(p0: float, p1: float, alpha: float, power: float, minimax: bool) -> TwoStage:
    return two_stage(p0, p1, alpha, power, minimax=minimax)


def single_arm(design: TrialDesign, potential: Potential, marker: Whole, people: People) -> Found:
    """All patients get the new arm; success is no event. Missing counts as prespecified; with ``complete`` the next
    patient takes the place.
    """
    plan = stages(design)
    rows, n = people.shape
    arm = np.ones((rows, n), dtype=np.int64)
    seen = see(design, potential, arm, marker, people)
    hit, counts = filled(design, seen)
    rank = np.cumsum(counts, axis=1)
    success = np.cumsum(counts & ~hit, axis=1)
    at_1, at_n = (np.minimum((rank < size).sum(axis=1), n - 1) for size in (plan.n1, plan.n))
    row = np.arange(rows)
    stop = success[row, at_1] <= plan.r1
    at = np.where(stop, at_1, at_n)
    x, size = success[row, at].astype(float), rank[row, at].astype(float)
    rejected = ~stop & (x > plan.r)
    d = design.design
    if d.historical_events is not None and d.historical_patients is not None:
        past_x, past_n = np.full(rows, float(d.historical_events)), np.full(rows, float(d.historical_patients))
        estimate, low, high = difference(past_x, past_n, size - x, size)
    else:  # against the rate that the control is taken to have, without error
        estimate, low, high = difference(np.zeros(rows), np.full(rows, 1e9), size - x, size)
        shift = 1.0 - float(d.p0 or 0.0)
        estimate, low, high = estimate - shift, low - shift, high - shift
    allocated = np.zeros((rows, len(design.arms)))
    allocated[:, 1] = at + 1
    return {
        "rejected": rejected[:, None], "n": at + 1.0, "months": _end(design, people.month[row, at]),
        "look": np.where(stop, 0, 1), "stopped": np.where(stop, 2, 0), "events": size - x, "allocated": allocated,
        "estimate": estimate[:, None], "low": low[:, None], "high": high[:, None],
    }  # fmt: skip


def adaptive_rules(design: TrialDesign) -> adaptive.Rules:
    """The rules of a Bayesian adaptive design."""
    d = design.design
    known = [*range(d.first_look, d.patients, d.look_every), d.patients]
    return adaptive.Rules(
        tuple(known), tuple(min(k + d.pipeline, d.patients) for k in known), len(design.arms), d.superiority,
        d.inferiority, d.equivalence, d.equivalence_margin, d.futility, d.futility_margin,
        0 if d.common_control else None, d.fixed_control, d.least_allocation, d.soften, d.response_adaptive,
    )  # fmt: skip


def run_adaptive(design: TrialDesign, potential: Potential, marker: Whole, people: People) -> Found:
    """Bayesian: see :mod:`icans.intervene.trial.adaptive`. Missing outcomes count for nothing."""
    rules = adaptive_rules(design)
    c = design.conduct
    chance = np.where(potential.hit, c.missing if c.missing_with_event is None else c.missing_with_event, c.missing)
    # who is missing must not depend on the arm that only the allocation tells: the control's outcome decides
    gone = people.known < chance[..., 0]
    course = adaptive.run(potential.hit, rules, people.order, gone)
    arms = len(design.arms)
    won = course.winner[:, None] == np.arange(arms)[None, :]
    total = course.n.sum(axis=1)
    last = np.asarray(rules.randomised)[course.look]
    x0, n0 = course.events[:, :1], course.n[:, :1]
    estimate, low, high = difference(x0, n0, course.events, course.n)
    keep = slice(1, None) if design.design.common_control else slice(None)
    return {
        "rejected": won[:, keep], "n": total, "months": _end(design, people.month[np.arange(len(total)), last - 1]),
        "look": course.look, "stopped": np.select([course.state == 1, course.state > 1], [1, 2], 0),
        "events": course.events.sum(axis=1), "allocated": course.n, "estimate": estimate[:, keep],
        "low": low[:, keep], "high": high[:, keep], "state": course.state, "best": course.best,
        "allocation": course.allocation, "running": course.running,
    }  # fmt: skip


def critical(alpha: float, sided: int) -> float:
    """Score of a single test at its error."""
    return float(norm.isf(alpha / sided))


def size_of(design: TrialDesign) -> int:
    """Most patients that a trial of the design may enrol."""
    if design.design.kind != "single_arm":
        return design.design.patients
    spare = 1.0 / max(1.0 - design.conduct.missing, 0.05) if design.analysis.missing == "complete" else 1.0
    return int(np.ceil(stages(design).n * spare * 1.3)) if spare > 1 else stages(design).n


__all__ = ["Found", "Mask", "adaptive_rules", "bounds_of", "hypotheses", "run_kind", "size_of", "stages"]
