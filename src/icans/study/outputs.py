"""The results folder: report, tables, cohort, model, and what is needed to do the run again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from icans.cohort.folder import write_folder
from icans.core.errors import DataError
from icans.core.execute import Executor
from icans.core.files import write_json, write_text
from icans.forecast.model_file import write_model
from icans.report.checklists.card import card_text, model_card
from icans.report.checklists.facts import facts
from icans.report.checklists.probast import probast_table
from icans.report.checklists.tripod import tripod_table
from icans.report.model import ReportData
from icans.report.render import write_report
from icans.study.folder import write_mark, write_tables

if TYPE_CHECKING:
    from icans.study.assemble import Findings


def write_outputs(folder: Path, found: Findings, data: ReportData, executor: Executor) -> None:
    """Write everything into a new folder (the caller makes it appear at once)."""
    checks = {"tripod_ai": tripod_table(facts(data)), "self_check": probast_table(data)}
    write_tables(folder, {**found.tables(), **checks}, found.cohort.synthetic)
    write_folder(found.cohort, folder / "cohort", format="parquet")
    if found.model is not None:
        name = found.model.task.name
        write_json(folder / "models" / f"{name}.json", found.model_card())
        write_text(folder / "models" / f"{name}.md", card_text(model_card(data, found.model_card())))
        try:
            write_model(found.model, folder / "models" / f"{name}.icans")
        except DataError as error:
            # A correction that cannot be stored makes the model unusable elsewhere; the run itself stands.
            write_json(folder / "models" / f"{name}.not-stored.json", [p.as_dict() for p in error.problems])
    write_report(data, folder / "report.html", executor)
    write_mark(folder, {
        "study": found.study.as_dict(), "source": found.delivered.provenance.as_dict(),
        "sentences": list(found.sentences),
    }, replace(data.run, seed=found.study.study.seed), found.cohort.synthetic)  # fmt: skip
