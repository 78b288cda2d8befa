"""The page of ``icans validate`` and ``icans compare``: trained models judged on patients they have not seen."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from icans.report import format as fmt
from icans.report.model import ReportData
from icans.report.page import Builder, Bullets, Callout, Section, Text, blocks_of, merge_interval
from icans.report.render import html_page
from icans.report.sections import forecasts


@dataclass(frozen=True)
class ValidationPage:
    """What the page shows; tables as :class:`icans.study.validation.Validated` has them."""

    data: ReportData
    sentences: tuple[str, ...]
    models: tuple[str, ...]
    warnings: tuple[str, ...]
    recalibration: pd.DataFrame
    subgroups: pd.DataFrame
    novelty: pd.DataFrame
    skipped: pd.DataFrame
    synthetic: bool


def validation_page(page: ValidationPage) -> str:
    """The page as HTML that needs nothing else."""
    builder = Builder(page.data)
    sections = [_glance(page), forecasts.section(builder), _update(builder, page), _groups(builder, page)]
    return html_page(
        sections, title=page.data.study, kicker="icans validation", synthetic=page.synthetic,
        subtitle=f"{fmt.plural(len(page.models), 'model')} · made {page.data.run.finished}",
    )  # fmt: skip


def _glance(page: ValidationPage) -> Section:
    use = Callout(
        "Research use only", ("Not a medical device; not for decisions on the care of a patient.",), "caution"
    )
    audit = Callout("The leakage audit declined a training cohort", page.warnings, "bad") if page.warnings else None
    lead = "Models that were trained elsewhere, as they are, on the patients of this cohort."
    return Section("glance", "At a glance", lead, blocks_of(use, audit, Bullets(page.sentences), Bullets(page.models)))


def _update(builder: Builder, page: ValidationPage) -> Section:
    rows = page.recalibration.drop(columns=["task"], errors="ignore")
    table = builder.table(
        rows, "What a closed test asks for in each cell", file="recalibration.parquet",
        note="Vergouwe 2017: the least update that the data do not reject. With few events it cannot reject much.",
        names={"choice": "Update", "reason": "Not tested because"},
    )  # fmt: skip
    lead = "How far these patients ask for another intercept or slope."
    return Section("update", "Does it need recalibration?", lead, (table,))


def _groups(builder: Builder, page: ValidationPage) -> Section:
    parts = []
    if len(page.novelty):
        parts.append(
            builder.table(
                page.novelty,
                "What is new to a model about these patients",
                note="Each widens the interval of its patient's forecast.",
                names={"share_widened": "Share widened"},
                show={"share_widened": fmt.percent},
            )
        )
    if len(page.subgroups):
        parts.append(
            builder.table(
                merge_interval(page.subgroups.drop(columns=["task"], errors="ignore")),
                "Groups of patients",
                note="No verdict below 20 patients with and 20 without the event.",
                file="subgroups.parquet",
                fold=True,
            )
        )
    if len(page.skipped):
        parts.append(builder.table(page.skipped.drop(columns=["position"]), "Cells not judged"))
    lead = "Who is new to the model, and how it does in groups."
    blocks = blocks_of(parts) if parts else (Text("All patients are alike in what the model knows."),)
    return Section("groups", "New kinds of patients, and groups", lead, blocks)
