"""What no design may be: names that are not known, parts that contradict each other, sizes that cannot work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from icans.core.errors import ModelError, Problem
from icans.mechanism.parameters import unknown
from icans.population import care
from icans.population.covariates import diseases, distribution
from icans.population.products import products
from icans.population.readings import schemes

if TYPE_CHECKING:
    from icans.intervene.trial.design import TrialDesign

EVENT = re.compile(r"^(icans|crs)>=([1-5])$")
PLAIN_EVENTS = ("iechs", "death")
CONDITION = re.compile(r"^\s*([A-Za-z_]+)\s*(<=|>=|<|>|==|!=)\s*(-?[\d.]+(?:[eE][-+]?\d+)?|true|false)\s*$")
MODELS = ("rate", "hazard", "grades")
TWO_ARMS = ("stratified", "guided", "group_sequential")


def problems_of(design: TrialDesign) -> list[Problem]:
    """Every problem of a design; ``column`` is the path of the key."""
    parts = (_arms, _patients, _endpoint, _marker, _kind, _size, _stages)
    return [problem for part in parts for problem in part(design)]


def _say(path: str, value: object, expected: str, remedy: str) -> Problem:
    return Problem("design", None, path, None if value is None else str(value), expected, remedy)


def _named(path: str, kind: str, name: str, known: object) -> Problem:
    return replace(unknown(kind, name, known), file="design", column=path)  # type: ignore[arg-type]


def covariates(disease: str) -> tuple[str, ...]:
    """Covariates that patients of a disease have at infusion."""
    return tuple(name for kind in distribution(disease).values() for name in kind)


def _arms(design: TrialDesign) -> Iterator[Problem]:
    names = [arm.name for arm in design.arms]
    for i, arm in enumerate(design.arms, 1):
        stated = [m for m in MODELS if getattr(arm, m) is not None]
        simulated = [m for m in ("care", "strategy") if getattr(arm, m) is not None]
        if len(stated) + len(simulated) != 1:
            found = ", ".join(stated + simulated) or None
            yield _say(
                f"arms.{i}", found, "one of care, strategy, rate, hazard, grades", "Say where outcomes come from."
            )
        elif bool(simulated) != design.simulated:
            yield _say(
                f"arms.{i}", (stated + simulated)[0], "all arms simulated, or all arms stated", "Do not mix them."
            )
        if names.index(arm.name) != i - 1:
            yield _say(f"arms.{i}.name", arm.name, "a name that no other arm has", "Rename it.")
        if arm.care is not None and arm.care not in care.tables()["care"]:
            yield _named(f"arms.{i}.care", "era of care", arm.care, care.tables()["care"])
        if arm.regimen and arm.care is None:
            yield _say(f"arms.{i}.regimen", arm.regimen, "a regimen beside an era of care", "Name the care, too.")
        if arm.regimen and arm.regimen not in care.tables()["regimen"]:
            yield _named(f"arms.{i}.regimen", "regimen", arm.regimen, care.tables()["regimen"])
        if arm.strategy is not None:
            yield from _strategy(design, i, arm.strategy)
        if arm.grades is not None and abs(sum(arm.grades) - 1.0) > 1e-6:
            yield _say(f"arms.{i}.grades", arm.grades, "chances that add up to 1", "Correct them.")


def _strategy(design: TrialDesign, i: int, name: str) -> Iterator[Problem]:
    from icans.intervene.trial.treat import known_strategies, product_problems

    known, product = known_strategies(), design.patients.product
    if name not in known:
        yield _named(f"arms.{i}.strategy", "strategy", name, known)
    elif product in products():
        yield from (
            replace(p, file="design", column=f"arms.{i}.strategy", value=p.value or name)
            for p in product_problems(known[name], str(product))
        )


def _patients(design: TrialDesign) -> Iterator[Problem]:
    p = design.patients
    if not design.simulated:
        return
    for key, name, known in (("product", p.product, products()), ("disease", p.disease, diseases())):
        if name is None:
            yield _say(f"patients.{key}", None, f"a {key}: virtual patients are drawn by it", "Add it.")
        elif name not in known:
            yield _named(f"patients.{key}", key, name, known)
    if p.product in products() and p.disease in diseases():
        yield from _treats(p.product, p.disease)
    for i, text in enumerate(p.eligible):
        path = "patients.eligible"
        seen = CONDITION.match(text)
        if seen is None:
            yield _say(path, text, "a covariate, a comparison and a number", f"Correct condition {i + 1}.")
        elif p.disease in diseases() and seen.group(1) not in covariates(p.disease):
            yield _named(path, "covariate", seen.group(1), covariates(p.disease))


def _treats(product: str | None, disease: str | None) -> Iterator[Problem]:
    from icans.population.products import draw_patients

    try:
        draw_patients(1, str(product), str(disease), 1)
    except ModelError as error:
        yield from (replace(p, file="design", column="patients.product") for p in error.problems)


def _endpoint(design: TrialDesign) -> Iterator[Problem]:
    e = design.endpoint
    for key in ("events", "against"):
        for text in getattr(e, key):
            if text not in PLAIN_EVENTS and not EVENT.match(text):
                yield _say(f"endpoint.{key}", text, "icans>=1 to 5, crs>=1 to 5, iechs or death", "Correct it.")
    if e.kind != "ordinal" and not e.events:
        yield _say("endpoint.events", "[]", "at least one event", "Add it.")
    if e.kind == "competing" and not (e.against or e.against_hazard):
        yield _say("endpoint.against", None, "what competes with the event", 'Add it, or choose kind = "time".')
    for key, toxicity in (("icans_scheme", "nt"), ("crs_scheme", "crs")):
        if getattr(e, key) not in schemes()[toxicity]:
            yield _named(f"endpoint.{key}", "grading scheme", getattr(e, key), schemes()[toxicity])
    if not design.simulated:
        want = {"binary": "rate", "ordinal": "grades", "time": "hazard", "competing": "hazard"}[e.kind]
        for i, arm in enumerate(design.arms, 1):
            if getattr(arm, want) is None:
                yield _say(f"arms.{i}", None, f"{want}: the endpoint is {e.kind}", "Add it, or change the endpoint.")
        lengths = {len(arm.grades) for arm in design.arms if arm.grades is not None}
        if len(lengths) > 1:
            yield _say("arms.1.grades", sorted(lengths), "as many grades in every arm", "Correct them.")


def _marker(design: TrialDesign) -> Iterator[Problem]:
    b, kind = design.biomarker, design.design.kind
    if kind in ("stratified", "guided") and b is None:
        yield _say("biomarker", None, f"a biomarker: the design is {kind}", "Add the table [biomarker].")
    if b is None:
        return
    if design.simulated:
        known = covariates(design.patients.disease) if design.patients.disease in diseases() else ()
        if b.name is None or (known and b.name not in known):
            yield _named("biomarker.name", "covariate known before treatment", str(b.name), known)
        if (b.above is None) == (b.below is None):
            yield _say("biomarker.above", None, "either above or below", "Say from where it is positive.")
    elif b.prevalence is None:
        yield _say("biomarker.prevalence", None, "a share: outcomes are stated, not simulated", "Add it.")
    elif all(arm.rate_positive is None for arm in design.arms):
        yield _say("arms.1.rate_positive", None, "rates of those with the marker", "Add them to the arms.")


def _kind(design: TrialDesign) -> Iterator[Problem]:
    d, e, arms = design.design, design.endpoint, len(design.arms)
    if d.kind in TWO_ARMS and arms != 2:
        yield _say("arms", arms, f"two arms: the design is {d.kind}", "Add or remove arms.")
    if d.kind in ("parallel", "adaptive") and arms < 2:
        yield _say("arms", arms, "at least two arms", "Add one; the first is the control.")
    if d.kind in ("adaptive", "single_arm", "stratified", "guided") and e.kind != "binary":
        yield _say("endpoint.kind", e.kind, f"binary: the design is {d.kind}", "Change the endpoint or the design.")
    if d.kind == "single_arm":
        yield from _one_arm(design)
    if d.allocation is not None and (len(d.allocation) != arms or min(d.allocation) < 1):
        yield _say("design.allocation", d.allocation, f"{arms} whole numbers of at least 1", "One for each arm.")
    if design.analysis.by_site and d.kind not in ("parallel",):
        yield _say("analysis.by_site", True, "a parallel design", "Leave it out.")


def _one_arm(design: TrialDesign) -> Iterator[Problem]:
    d, arms = design.design, len(design.arms)
    if arms != 2:
        yield _say("arms", arms, "two: what the historical control was, then what is given", "Name both.")
    if d.p0 is None or d.p1 is None:
        yield _say("design.p0", None, "p0 and p1: rates of success (no event) without and with benefit", "Add them.")
    elif d.p0 >= d.p1:
        yield _say("design.p1", d.p1, f"a rate of success above p0 = {d.p0:g}", "Correct it.")
    if (d.historical_events is None) != (d.historical_patients is None):
        yield _say("design.historical_patients", None, "events and patients of the historical control", "Add both.")
    elif d.historical_events is not None and d.historical_events > (d.historical_patients or 0):
        yield _say("design.historical_events", d.historical_events, "no more events than patients", "Correct it.")
    if design.analysis.sided != 1:
        yield _say("analysis.sided", design.analysis.sided, "1: a single arm asks for benefit only", "Set it to 1.")


def _size(design: TrialDesign) -> Iterator[Problem]:
    d, arms = design.design, len(design.arms)
    if d.kind != "single_arm" and d.patients < 2 * arms:
        yield _say("design.patients", d.patients, f"at least {2 * arms}", "Enrol more, or have fewer arms.")
    months = d.patients / (design.conduct.per_month * design.conduct.sites)
    if months > 240:
        yield _say("conduct.per_month", design.conduct.per_month, "enrolment within 20 years",
                   f"{d.patients} patients take {months:.0f} months: add sites, or enrol fewer.")  # fmt: skip
    if design.conduct.missing >= 1.0:
        yield _say("conduct.missing", design.conduct.missing, "a share below 1", "No outcome would ever be known.")
    if d.events_planned is not None and d.events_planned > d.patients:
        yield _say("design.events_planned", d.events_planned, f"at most {d.patients} events", "A patient has one.")
    if d.kind == "group_sequential" and design.endpoint.kind in ("time", "competing") and d.events_planned is None:
        yield _say("design.events_planned", None, "events at full information", "Looks are timed by events.")


def _stages(design: TrialDesign) -> Iterator[Problem]:
    d, arms = design.design, len(design.arms)
    if d.kind == "group_sequential":
        looks = np.asarray(d.looks)
        if len(looks) == 0 or np.any(np.diff(looks) <= 0) or abs(looks[-1] - 1.0) > 1e-9:
            yield _say("design.looks", d.looks, "shares of information that increase to 1", "Correct them.")
    if d.kind == "adaptive":
        if d.least_allocation * arms > 1.0:
            yield _say("design.least_allocation", d.least_allocation, f"at most 1/{arms}", "Shares add up to 1.")
        if d.fixed_control is not None and d.fixed_control + d.least_allocation * (arms - 1) > 1.0:
            yield _say("design.fixed_control", d.fixed_control, "room for the least allocation of the others",
                       "Lower one of them.")  # fmt: skip
        if d.first_look > d.patients:
            yield _say("design.first_look", d.first_look, f"at most the {d.patients} patients", "Look earlier.")
        if d.futility is not None and not d.common_control:
            yield _say("design.futility", d.futility, "a common control to be futile against", "Leave it out.")
        if d.equivalence is not None and d.equivalence_margin <= 0:
            yield _say("design.equivalence_margin", d.equivalence_margin, "a margin above 0", "Add it.")
