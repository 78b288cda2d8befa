"""A design in the words of a protocol: synopsis, estimand (ICH E9(R1)), looks, analysis."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import norm

from icans.intervene.trial.boundaries import spent
from icans.intervene.trial.design import ArmSection, TrialDesign
from icans.intervene.trial.engines import adaptive_rules, bounds_of, hypotheses, stages

KINDS = {
    "parallel": "randomised, parallel arms",
    "single_arm": "single arm against a historical control",
    "stratified": "randomised, stratified by a biomarker",
    "guided": "randomised comparison of a biomarker-guided strategy with one strategy for all",
    "adaptive": "randomised, Bayesian adaptive",
    "group_sequential": "randomised, group sequential",
}
MEASURES = {
    "binary": "Difference in the risk of the event, new arm less control.",
    "ordinal": "Chance that a patient of the new arm has a lower highest grade than one of the control, ties by half.",
    "time": "Hazard ratio of the event, new arm over control.",
    "competing": "Ratio of subdistribution hazards, new arm over control.",
}
TESTS = {
    "binary": "score test of two proportions", "ordinal": "Wilcoxon-Mann-Whitney test with ties",
    "time": "log-rank test", "competing": "log-rank test of the subdistribution",
}  # fmt: skip
MISSING = {
    "complete": "Patients without the outcome are left out.",
    "event": "A missing outcome counts as an event.",
    "no_event": "A missing outcome counts as no event.",
    "worst": "A missing outcome counts as an event in the new arms and as none in the control.",
}


def event_words(text: str) -> str:
    """``icans>=3`` as ``ICANS of grade 3 or more``."""
    if ">=" in text:
        toxicity, grade = text.split(">=")
        return f"{toxicity.upper()} of grade {grade} or more"
    return {"iechs": "hyperinflammation (IEC-HS)", "death": "death of toxicity (grade 5)"}[text]


def endpoint_words(design: TrialDesign) -> str:
    """What is counted, in one sentence."""
    e = design.endpoint
    events = " or ".join(event_words(x) for x in e.events)
    if e.kind == "ordinal":
        what = f"Highest grade of {e.toxicity.upper()}"
    elif e.kind == "binary":
        what = f"{events[:1].upper()}{events[1:]}"
    else:
        what = f"Time to the first {events}"
    text = f"{what}, within {e.days:g} days of infusion"
    rivals = [event_words(x) for x in e.against] + (
        [f"another end ({e.against_hazard:g} a day)"] if e.against_hazard else []
    )
    if rivals:
        text += f"; {' and '.join(rivals)} competes with it"
    return f"{text}. ICANS is graded by {e.icans_scheme.upper()}, CRS by {e.crs_scheme.upper()}."


def arm_words(arm: ArmSection) -> str:
    """What an arm is."""
    if arm.strategy is not None:
        from icans.intervene.trial.treat import known_strategies

        lines = known_strategies()[arm.strategy].describe().splitlines()
        return f"{lines[0]}: " + "; ".join(line.removeprefix("- ") for line in lines[1:])
    if arm.care is not None:
        return f"Care of the kind '{arm.care}'" + (f", and {arm.regimen}." if arm.regimen else ".")
    if arm.hazard is not None:
        return f"Stated: {arm.hazard:g} events a day."
    if arm.grades is not None:
        return "Stated: chances of grades " + ", ".join(f"{g:g}" for g in arm.grades) + "."
    marked = f", {arm.rate_positive:g} with the marker" if arm.rate_positive is not None else ""
    return f"Stated: risk {arm.rate:g}{marked}."


def synopsis(design: TrialDesign) -> pd.DataFrame:
    """Rows of a protocol synopsis: columns item, text."""
    d, p, c = design.design, design.patients, design.conduct
    rows = [("Question", design.trial.question or "–"), ("Design", KINDS[d.kind])]
    if design.simulated:
        who = f"Virtual patients: {p.disease}, treated with {p.product}"
        rows.append(("Population", who + ("; " + "; ".join(p.eligible) if p.eligible else "") + "."))
    rows += [(f"Arm: {arm.name}", arm_words(arm)) for arm in design.arms]
    if design.biomarker is not None:
        rows.append(("Biomarker", marker_words(design)))
    rows += [("Endpoint", endpoint_words(design)), ("Size", size_words(design))]
    ramp = f", opening {c.open_every:g} months apart" if c.open_every else ""
    rows.append(("Enrolment", f"{c.sites} sites{ramp}, each {c.per_month:g} patients a month on average."))
    rows.append(("Randomisation", randomisation_words(design)))
    return pd.DataFrame(rows, columns=["item", "text"])


def marker_words(design: TrialDesign) -> str:
    """The biomarker, its cut and how well it is read."""
    b = design.biomarker
    if b is None:
        return "none"
    if b.name is None:
        share = 100 * float(b.prevalence or 0)
        text = f"Positive in {share:g} %, sensitivity {b.sensitivity:g}, specificity {b.specificity:g}"
    else:
        cut = f"of {b.above:g} or more" if b.above is not None else f"below {b.below:g}"
        text = f"{b.name} at infusion; positive {cut}; error of the assay {100 * b.cv:g} %"
    return f"{text}; no result in {100 * b.failure:g} %, who are treated as {b.when_failed}."


def size_words(design: TrialDesign) -> str:
    """How many patients, and when it is looked at."""
    d = design.design
    if d.kind == "single_arm":
        plan = stages(design)
        if d.method == "exact":
            return f"{plan.n} patients; worth while with more than {plan.r} without the event."
        first = f"{plan.n1} patients; on if more than {plan.r1} are without the event"
        return f"{first}; then up to {plan.n}, worth while with more than {plan.r}."
    text = f"At most {d.patients} patients"
    if d.kind == "adaptive":
        looks = adaptive_rules(design).known
        return f"{text}; looks when the outcome of {', '.join(str(k) for k in looks)} is known."
    if d.kind == "group_sequential":
        unit = f"of {d.events_planned} events" if d.events_planned else "of the outcomes"
        return f"{text}; looks at {', '.join(f'{100 * x:.0f} %' for x in d.looks)} {unit}."
    return f"{text}, one analysis when the last outcome is in."


def randomisation_words(design: TrialDesign) -> str:
    """How patients come to their arms."""
    d = design.design
    if d.kind == "single_arm":
        return "None."
    if d.kind == "adaptive" and d.response_adaptive:
        return (f"By the posterior chance to be best (power {d.soften:g}), never below {100 * d.least_allocation:g} %; "
                "equal until the first look.")  # fmt: skip
    ratio = ":".join(str(r) for r in (d.allocation or (1,) * len(design.arms)))
    return f"Permuted blocks, {ratio}" + (", within strata of the marker." if d.kind == "stratified" else ".")


def estimand(design: TrialDesign) -> pd.DataFrame:
    """The five attributes of the estimand: columns attribute, text."""
    a = design.analysis
    return pd.DataFrame(
        [
            ("Treatment", " against ".join(reversed([arm.name for arm in design.arms[:2]]))
             + (f", and {len(design.arms) - 2} more" if len(design.arms) > 2 else "")),
            ("Population", a.population),
            ("Variable", endpoint_words(design)),
            ("Intercurrent events", a.intercurrent),
            ("Summary", MEASURES[design.endpoint.kind]),
        ],
        columns=["attribute", "text"],
    )  # fmt: skip


def analysis(design: TrialDesign) -> list[str]:
    """The prespecified analysis, in sentences."""
    d, a = design.design, design.analysis
    tests = hypotheses(design)
    said = [f"Hypotheses: {'; '.join(tests)}."]
    if d.kind == "adaptive":
        rule = f"An arm is superior with a posterior chance above {d.superiority:g}"
        said.append(f"{rule}, and dropped with one below {d.inferiority:g}; beta(1, 1) priors.")
        if d.futility is not None:
            said.append(f"Futile with a chance below {d.futility:g} to be better by {d.futility_margin:g}.")
        if d.equivalence is not None:
            said.append(f"Equivalent with a chance above {d.equivalence:g} to lie within {d.equivalence_margin:g}.")
    elif d.kind == "single_arm":
        plan = stages(design)
        said.append(f"Exact binomial, p0 = {d.p0:g}, p1 = {d.p1:g}: error {plan.error:.3f}, power {plan.power:.3f}.")
    else:
        test = TESTS[design.endpoint.kind]
        if d.kind == "stratified":
            test += "; in all patients Cochran-Mantel-Haenszel over the marker"
        if a.by_site:
            test = "Cochran-Mantel-Haenszel test over sites"
        said.append(f"{test[:1].upper()}{test[1:]}, {100 * a.alpha:g} %, {'two' if a.sided == 2 else 'one'}-sided.")
        if len(tests) > 1:
            said.append(f"Multiplicity: {a.multiplicity.replace('_', ' ')}.")
        if d.futility_below is not None:
            said.append(f"Futility, not binding: at a look a score below {d.futility_below:g} for the new arm.")
    return [*said, MISSING[a.missing]]


def looks_table(design: TrialDesign) -> pd.DataFrame | None:
    """Bounds of a group-sequential design: look, information, score, nominal p, error spent by then."""
    d, a = design.design, design.analysis
    if d.kind != "group_sequential":
        return None
    bound = bounds_of(design)
    nominal = a.sided * norm.sf(bound)
    table = pd.DataFrame(
        {"look": range(1, len(bound) + 1), "information": d.looks, "score": bound, "nominal p": nominal}
    )
    if d.boundary.startswith("spend_"):
        table["error spent"] = a.sided * spent(d.boundary, a.alpha / a.sided, np.asarray(d.looks), d.parameter)
    return table
