"""``icans grade``: bedside findings in, daily grades and each patient's maximum out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from icans.core.errors import DataError, Problem
from icans.core.files import atomic_path


@dataclass(frozen=True)
class GradeResult:
    """The daily grades that were written, and the maximum of each patient, toxicity and scheme."""

    output: Path
    daily: pd.DataFrame
    maximum: pd.DataFrame

    def as_dict(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        rows = self.maximum.astype(object).where(self.maximum.notna(), None).to_dict(orient="records")
        return {"output": str(self.output), "rows": len(self.daily), "maximum": rows}

    def text(self) -> str:
        """The result for people: how many patients reached which grade under which scheme."""
        shown = self.maximum.assign(
            grade=self.maximum["grade"].map(lambda g: "not gradable" if pd.isna(g) else f"{g:g}")
        )
        counts = shown.groupby(["toxicity", "scheme", "grade"]).size().unstack(fill_value=0)
        header = "Highest grade of each patient (patients):"
        return f"{len(self.daily)} daily grades written to {self.output}\n{header}\n{counts.to_string()}"


def grade_file(path: Path, output: Path, *, overwrite: bool = False) -> GradeResult:
    """Grade the ``assessments`` of a cohort under every scheme that they allow and write the days to a CSV file.

    Raises
    ------
    DataError
        The cohort has problems, or no bedside findings.
    FileExistsError
        ``output`` exists and ``overwrite`` is false.
    """
    from icans.harmonize.grading.cohort import grade_cohort, maximum_grades
    from icans.study.config import CohortSection
    from icans.study.source import read_cohort

    if output.exists() and not overwrite:
        raise FileExistsError(f"{output} exists; choose another file or allow overwriting with --overwrite")
    cohort = read_cohort(CohortSection(path=path), seed=0)
    graded = grade_cohort(cohort)
    daily = graded.grades[graded.grades["source"] == "derived"].reset_index(drop=True)
    if daily.empty:
        expected = "bedside findings (table assessments) or counts from which a grade follows"
        raise DataError([Problem(str(path), None, None, None, expected, "See the page on grading for the items.")])
    with atomic_path(output) as temporary:
        daily.to_csv(temporary, index=False)
    return GradeResult(output, daily, maximum_grades(daily))
