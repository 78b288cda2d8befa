"""The results folder: report, tables, cohort, model, and what is needed to do the run again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from icans.cohort.folder import write_folder
from icans.core.errors import DataError
from icans.core.execute import Executor
from icans.core.files import atomic_path, sha256, write_json, write_text
from icans.core.provenance import code_digest, versions
from icans.forecast.model_file import write_model
from icans.report.checklists.card import card_text, model_card
from icans.report.checklists.facts import facts
from icans.report.checklists.probast import probast_table
from icans.report.checklists.tripod import tripod_table
from icans.report.model import ReportData
from icans.report.render import write_report

if TYPE_CHECKING:
    from icans.study.assemble import Findings

#: The file that marks a folder as results of ours, which may be replaced on request.
MARK = "run.json"


def check_target(folder: Path, overwrite: bool) -> None:
    """Raise FileExistsError when a folder must not be written."""
    if not folder.exists():
        return
    if not (folder / MARK).is_file():
        raise FileExistsError(f"{folder} exists and holds no results of this program; choose another folder")
    if not overwrite:
        raise FileExistsError(f"{folder} holds earlier results; choose another folder or allow --overwrite")


def write_outputs(folder: Path, found: Findings, data: ReportData, executor: Executor) -> None:
    """Write everything into a new folder (the caller makes it appear at once)."""
    for name, frame in found.tables().items():
        _parquet(frame, folder / "tables" / f"{name}.parquet", found.cohort.synthetic)
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
    _parquet(tripod_table(facts(data)), folder / "tables" / "tripod_ai.parquet", found.cohort.synthetic)
    _parquet(probast_table(data), folder / "tables" / "self_check.parquet", found.cohort.synthetic)
    write_report(data, folder / "report.html", executor)
    run = {
        "study": found.study.as_dict(),
        "synthetic": found.cohort.synthetic,
        "source": found.delivered.provenance.as_dict(),
        "seed": found.study.study.seed,
        "versions": versions(),
        "code": code_digest(),
        "started": data.run.started,
        "finished": data.run.finished,
        "seconds": dict(data.run.seconds),
        "sentences": list(found.sentences),
        "outputs": {str(p.relative_to(folder)): sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()},
    }
    write_json(folder / MARK, run)


def _parquet(frame: pd.DataFrame, path: Path, synthetic: bool) -> None:
    labelled = frame.assign(synthetic=True) if synthetic else frame
    with atomic_path(path) as temporary:
        labelled.to_parquet(temporary, index=False)
