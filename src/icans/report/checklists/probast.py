"""A self-check in the domains of PROBAST+AI, as far as a program can see it.

It is a list of warnings for the authors, not an assessment: the instrument is filled in by people who did not make the
model. ``no`` and ``probably no`` raise the risk of bias of their domain; what a run cannot see is never a yes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from typing import Any

import pandas as pd

from icans.report.model import ReportData

#: Answers, as in the instrument.
YES, PROBABLY_YES, PROBABLY_NO, NO, UNKNOWN, PERSON = (
    "yes", "probably yes", "probably no", "no", "no information", "for a person",
)  # fmt: skip
Answer = tuple[str, str]
#: Events that evaluations are commonly advised to have (Collins GS et al., Stat Med 2016;35:214, doi
#: 10.1002/sim.6787).
EVENTS_ADVISED = 100


@cache
def questions() -> tuple[dict[str, Any], ...]:
    """The questions as written in :file:`probast.toml`."""
    text = (resources.files("icans.report.checklists") / "probast.toml").read_text(encoding="utf-8")
    return tuple(tomllib.loads(text)["question"])


def probast_table(data: ReportData) -> pd.DataFrame:
    """One row for each question: id, part, domain, question, answer, because."""
    rows = []
    for question in questions():
        rule = RULES.get(question.get("rule", ""))
        answer, because = rule(data) if rule is not None else (PERSON, "")
        rows.append(
            {"id": question["id"], "part": question["part"], "domain": question["domain"], "question": question["ask"],
             "answer": answer, "because": because}
        )  # fmt: skip
    return pd.DataFrame(rows)


def domain_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Judgement by part and domain: ``high`` (a no or probably no), ``unclear`` (something unknown), ``low``."""

    def judged(answers: pd.Series) -> str:
        if answers.isin([NO, PROBABLY_NO]).any():
            return "high"
        return "unclear" if answers.isin([UNKNOWN, PERSON]).any() else "low"

    return table.groupby(["part", "domain"], sort=False)["answer"].agg(judged).rename("concern").reset_index()


def _no_leak(data: ReportData) -> Answer:
    if data.audit is None:
        return UNKNOWN, "no leakage audit was run"
    can = data.audit.occurrence_can_be_validated
    if can is None:
        return UNKNOWN, "the leakage audit could not decide"
    return (YES, "no check of the leakage audit separates the outcome") if can else (
        NO, "the leakage audit found that the delivery tells the outcome"
    )  # fmt: skip


def _by_construction(why: str) -> Callable[[ReportData], Answer]:
    def answer(data: ReportData) -> Answer:
        return (
            (YES, why) if data.performance is not None and len(data.performance) else (UNKNOWN, "nothing was forecast")
        )

    return answer


def _available(data: ReportData) -> Answer:
    cohort = data.cohort
    if cohort is None:
        return UNKNOWN, "no cohort"
    assumed = int((cohort.changes["rule"] == "available.assumed").sum())
    if assumed:
        return (
            PROBABLY_YES,
            "only rows known by the landmark are used, but the source does not say when results were known",
        )
    return YES, "only rows with a time of availability at or before the landmark are used"


def _units(data: ReportData) -> Answer:
    if data.findings is None:
        return UNKNOWN, "no harmonisation was run"
    open_ones = 0
    if "applied" in data.findings:
        open_ones = int((~data.findings["applied"].astype(bool)).sum())
    if open_ones:
        return PROBABLY_YES, f"units and assays were checked; {open_ones} findings were reported and not applied"
    return YES, "units and assays were checked and mended by named rules"


def _one_scheme(data: ReportData) -> Answer:
    cohort = data.cohort
    if cohort is None:
        return UNKNOWN, "no cohort"
    schemes = sorted(cohort.grades.loc[cohort.grades["toxicity"] == "ICANS", "scheme"].dropna().unique())
    if not schemes:
        return UNKNOWN, "no ICANS grades"
    text = ", ".join(map(str, schemes))
    return (YES, f"{text} for all") if len(schemes) == 1 else (PROBABLY_YES, f"several schemes ({text}); tasks use one")


def _enough_for_development(data: ReportData) -> Answer:
    if not data.sample_size:
        return UNKNOWN, "no sample-size statement"
    enough = sum("the sample size suffices" in text for text in data.sample_size)
    why = f"by Riley's criteria the size suffices for {enough} of {len(data.sample_size)} tasks"
    return (YES if enough == len(data.sample_size) else NO), why


def _events(data: ReportData) -> int | None:
    rows, head = data.performance, data.headline
    if rows is None or head is None:
        return None
    mine = rows[
        (rows["task"] == head.task) & (rows["landmark_h"] == head.landmark_h) & (rows["horizon_h"] == head.horizon_h)
    ]
    return None if mine.empty else int(mine["events"].max())


def _enough_for_evaluation(data: ReportData) -> Answer:
    events = _events(data)
    if events is None:
        return UNKNOWN, "no declared cell was judged"
    return (YES if events >= EVENTS_ADVISED else NO), f"{events} events at the declared cell"


def _optimism(data: ReportData) -> Answer:
    done = any("ptimism" in title for title in data.extra_tables)
    return (YES, "nested tuning; bootstrap with the whole procedure refitted") if done else (
        PROBABLY_YES, "tuning is nested in cross-validation; no optimism bootstrap was run"
    )  # fmt: skip


def _elsewhere(data: ReportData) -> Answer:
    groups = None if data.behaviour is None else data.behaviour.table("groups")
    if groups is None:
        return NO, "no group of patients was left out of training; cross-validation only"
    by = ", ".join(sorted(groups["by"].astype(str).unique()))
    return PROBABLY_YES, f"leave one {by} out within this cohort; no outside cohort"


def _made(name: str, yes: str, no: str) -> Callable[[ReportData], Answer]:
    def answer(data: ReportData) -> Answer:
        there = data.behaviour is not None and data.behaviour.table(name) is not None
        return (YES, yes) if there else (NO, no)

    return answer


def _subgroups(data: ReportData) -> Answer:
    table = None if data.behaviour is None else data.behaviour.table("subgroups")
    if table is None:
        return NO, "no groups were looked at"
    share = float((table["verdict"] == "uninformative").mean())
    if share == 1:
        return PROBABLY_NO, "every group has too few events for a verdict"
    return PROBABLY_YES, f"{1 - share:.0%} of the comparisons have at least 20 events"


def _measures(data: ReportData) -> Answer:
    rows = data.performance
    if rows is None or rows.empty:
        return UNKNOWN, "nothing was forecast"
    named = set(rows["metric"])
    whole = {"auc", "slope", "oe"} <= named and any(m.startswith("net_benefit") for m in named)
    return (YES if whole and rows["low"].notna().any() else NO), "intervals by resampling patients"


def _rivals(data: ReportData) -> Answer:
    done = data.comparisons is not None and len(data.comparisons) > 0
    return (YES, "paired differences in the same resamples") if done else (NO, "one model only")


RULES: Mapping[str, Callable[[ReportData], Answer]] = {
    "no_leak": _no_leak,
    "risk_set": _by_construction("patients whose event could be known by the landmark are not in its risk set"),
    "available": _available,
    "units": _units,
    "one_scheme": _one_scheme,
    "enough_for_development": _enough_for_development,
    "missing": _by_construction("filled by rules learned in the training fold; nobody is left out for a missing value"),
    "censoring": _by_construction("inverse-probability weights; death competes"),
    "optimism": _optimism,
    "kept_apart": _by_construction(
        "everything that learns is fitted in the training fold; shuffling checks in the audit"
    ),
    "elsewhere": _elsewhere,
    "latency": _made(
        "latency", "forecasts with results 0, 6 and 24 h late are compared", "no latency scenario was run"
    ),
    "same_outcome": _by_construction("the same definition in training and held-out patients"),
    "enough_for_evaluation": _enough_for_evaluation,
    "measures": _measures,
    "subgroups": _subgroups,
    "instability": _made("instability_summary", "refits on resampled patients", "not looked at"),
    "rivals": _rivals,
}
