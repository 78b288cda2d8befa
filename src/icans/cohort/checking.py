"""Every check of a set of tables: contracts, values, and what holds between tables."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from icans.cohort.cross_checks import check_across
from icans.cohort.findings import Findings, always
from icans.cohort.table_checks import check_contract, definition
from icans.cohort.value_checks import Checked, check_values
from icans.cohort.vocabulary import Analyte


def check_tables(
    tables: Mapping[str, Checked],
    analytes: Mapping[str, Analyte],
    findings: Findings,
    absent: Mapping[str, frozenset[str]] | None = None,
) -> None:
    """Contracts, values and what holds between tables. ``absent``: columns of a table that its file lacks."""
    for name, checked in tables.items():
        skip = (absent or {}).get(name, frozenset())
        check_contract(checked.frame, name, checked.file, checked.lines, findings, skip)
        _check_finite(checked, findings)
        if name != "changes":
            check_values(checked, analytes, findings)
    check_across(tables, findings)


def _check_finite(checked: Checked, findings: Findings) -> None:
    for column in definition(checked.name).columns:
        if column.kind != "number":
            continue
        infinite = np.flatnonzero(np.isinf(checked.frame[column.name].to_numpy(float)))
        if len(infinite):
            shown: pd.Series = checked.frame[column.name].iloc[infinite[:1000]]
            words = always("a finite number", "Correct the value, or leave it empty where it is missing.")
            findings.add_rows(checked.file, column.name, "infinite", checked.lines[infinite], shown, words)
