"""``icans registry``: is a registry of sealed forecasts whole, and how good were the forecasts?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from icans.core.errors import NotEstimableError
from icans.evaluate.registry import Verdict, sealed_table, verify
from icans.evaluate.registry_score import RegistryScore, score_registry
from icans.forecast.outcomes import outcome_table
from icans.study.preparing import prepare
from icans.study.source import study_for
from icans.study.tasks import study_tasks

#: What is told of the score.
METRICS = ("auc", "brier_scaled", "oe", "slope")


@dataclass(frozen=True)
class RegistryReport:
    """A registry's state, and the score of its forecasts where outcomes were given."""

    verdict: Verdict
    score: RegistryScore | None

    @property
    def intact(self) -> bool:
        """Whether the chain is unbroken."""
        return self.verdict.intact

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        score = None
        if self.score is not None:
            table = self.score.table
            kept = table[table["metric"].isin(METRICS)] if len(table) else table
            rows = kept.astype(object).where(kept.notna(), None).to_dict("records")
            score = {"sentences": list(self.score.sentences), "performance": rows}
        return {"ok": self.intact, "problems": list(self.verdict.problems), "head": self.verdict.head,
                "sealings": len(self.verdict.entries), "score": score}  # fmt: skip

    def text(self) -> str:
        """For people."""
        lines = [self.verdict.text()]
        if self.score is not None:
            lines += self.score.sentences
            table = self.score.table
            for row in table[table["metric"].isin(METRICS)].itertuples() if len(table) else ():
                lines.append(
                    f"{row.model}, day {row.landmark_h / 24:g}, {row.horizon_h / 24:g} d ahead, {row.metric}: "
                    f"{row.value:.2f} ({row.low:.2f} to {row.high:.2f}), {row.events} events in {row.n}"
                )
        return "\n".join(lines)


def registry_report(folder: Path | str, *, outcomes: str | None = None, head: str | None = None) -> RegistryReport:
    """Verify a registry; with ``outcomes`` (a cohort, as for ``icans run``) score its forecasts.

    Raises
    ------
    NotEstimableError
        The cohort has none of the tasks that were forecast.
    DataError
        The registry is broken and shall be scored, or the cohort has problems.
    """
    verdict = verify(folder, head=head)
    if outcomes is None or not verdict.intact:
        return RegistryReport(verdict, None)
    study = study_for(outcomes)
    cohort = prepare(study).cohort
    sealed = sealed_table(folder)
    tasks = {t.task.name: t.task for t in study_tasks(cohort, study.outcome, study.forecast)}
    frames = [
        outcome_table(cohort, tasks[str(name)], sorted(rows["landmark_h"].unique().tolist())).assign(task=name)
        for name, rows in sealed.groupby("task")
        if str(name) in tasks
    ]
    if not frames:
        raise NotEstimableError(f"cohort {cohort.name!r} has the outcome of none of {sorted(sealed['task'].unique())}")
    return RegistryReport(verdict, score_registry(folder, pd.concat(frames, ignore_index=True)))
