"""11. Run: what is needed to do it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from icans.report import format as fmt
from icans.report.page import Builder, Code, Fold, Grid, Heading, Section, Text, blocks_of

LEAD = "Configuration, versions and hashes of this run. The same inputs, seed and versions give the same numbers."


def section(builder: Builder) -> Section:
    """How to reproduce, then configuration, versions, inputs and times."""
    run = builder.data.run
    again = None
    if run.command:
        again = (
            Heading("Do it again"),
            Code(run.command, "Command"),
            Text("The full tables lie beside this file in " + builder.data.tables_folder + "/."),
        )
    facts = {"Started": run.started, "Finished": run.finished, "Seed": "" if run.seed is None else str(run.seed)}
    facts |= {str(k): str(v) for k, v in run.facts.items()}
    config = Fold("Study file", (Code(run.config, "Study file"),)) if run.config else None
    seconds = {stage: fmt.number(taken, 1) for stage, taken in run.seconds.items()}
    return Section(
        "run",
        "Run",
        LEAD,
        blocks_of(
            again, _pairs(builder, facts, "This run", ("Fact", "Value")), config,
            _pairs(builder, run.versions, "Versions", ("Package", "Version")),
            _pairs(builder, run.inputs, "Inputs", ("File", "SHA-256")),
            _pairs(builder, seconds, "Time taken", ("Stage", "Seconds")),
        ),
    )  # fmt: skip


def _pairs(builder: Builder, pairs: Mapping[str, Any], title: str, heads: tuple[str, str]) -> Grid | None:
    kept = {k: v for k, v in pairs.items() if v not in ("", None)}
    if not kept:
        return None
    frame = pd.DataFrame({heads[0]: list(kept), heads[1]: [str(v) for v in kept.values()]}, dtype=object)
    return builder.table(frame, title, row_heads=True)
