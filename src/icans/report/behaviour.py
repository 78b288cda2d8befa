"""What the evaluation protocol found beside discrimination, calibration and net benefit, as tables for the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

#: Names of the tables, in the order in which they are read. Columns: see the functions named.
TABLES: dict[str, str] = {
    "distribution": "icans.evaluate.distribution.risk_distribution",
    "alarms": "icans.evaluate.alarms.alarm_table",
    "groups": "icans.evaluate.meta_analysis.group_estimates",
    "pooled": "icans.evaluate.meta_analysis.pool",
    "updating": "icans.evaluate.closed_testing.closed_test",
    "subgroups": "icans.evaluate.subgroups.subgroup_table",
    "drift_windows": "icans.evaluate.drift.Drift.windows",
    "drift_path": "icans.evaluate.drift.Drift.path",
    "drift_summary": "icans.evaluate.drift.Drift.summary",
    "latency": "icans.evaluate.latency.latency_table",
    "instability_patients": "icans.evaluate.instability.Instability.patients",
    "instability_curves": "icans.evaluate.instability.Instability.curves",
    "instability_summary": "icans.evaluate.instability.Instability.summary",
    "importance": "icans.evaluate.explain.importance.importance_summary",
    "contributions": "icans.evaluate.explain.importance.contribution_stability",
    "shapley": "icans.evaluate.explain.shapley.shapley",
    "rules": "icans.evaluate.explain.rules.Rules.table",
    "ordinal": "icans.evaluate.ordinal.ordinal_scores",
}


@dataclass(frozen=True)
class Behaviour:
    """Results of the protocol for the declared task, model, landmark and horizon.

    Attributes
    ----------
    task, model, landmark_h, horizon_h
        What they speak of.
    tables
        By name (:data:`TABLES`); one that could not be made is not there.
    words
        Sentences by table name (basis of the order, fidelity of rules, agreement of ranks ...).
    reasons
        Why a table is not there, by name.
    refits
        Refits behind the instability and the stability of contributions.
    """

    task: str
    model: str
    landmark_h: float
    horizon_h: float
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    refits: int = 0

    def table(self, name: str) -> pd.DataFrame | None:
        """A table that has rows, or None."""
        frame = self.tables.get(name)
        return frame if frame is not None and len(frame) else None

    def said(self, name: str) -> tuple[str, ...]:
        """Sentences on a table, or the reason why it is not there."""
        found = self.words.get(name, ())
        return found if name not in self.reasons else (*found, self.reasons[name])
