"""Which kind of neurotoxicity is to come: encephalopathy, aphasia, seizure, oedema, from bedside findings.

A phenotype is there when one of its items is found at or beyond what :data:`PHENOTYPES` says. It is known to be absent
in a window when one of its items was looked for and nothing was found. Seizures and oedema are charted when there are
some: for those an assessment of any item in the window counts as having looked (``by_exception``). Findings judged to
have another cause do not count. A patient who has had the phenotype by the landmark is not at risk of it.

Cut-offs: ICE below 10 (Lee DW et al., Biol Blood Marrow Transplant 2019;25:625, doi 10.1016/j.bbmt.2018.12.758), CAPD
of 9 and more (Traube C et al., Crit Care Med 2014;42:656, doi 10.1097/CCM.0b013e3182a66b76).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from icans.cohort import vocabulary
from icans.cohort.cohort import Cohort
from icans.forecast.outcomes import Horizon


@dataclass(frozen=True)
class Phenotype:
    """What makes a phenotype.

    Attributes
    ----------
    name
        Short name.
    words
        Choice or yes/no items of which any word but the ones given here is a finding.
    below, at_least
        Items with numbers, and where a finding begins.
    by_exception
        Written down only when found.
    """

    name: str
    words: dict[str, tuple[str, ...]]
    below: dict[str, float]
    at_least: dict[str, float]
    by_exception: bool = False

    @property
    def items(self) -> tuple[str, ...]:
        """Every item that speaks of it."""
        return (*self.words, *self.below, *self.at_least)

    def found(self, rows: pd.DataFrame) -> pd.Series:
        """True for assessments that are a finding (rows of this phenotype's items)."""
        item, value = rows["item"], rows["value"].astype(str).str.strip().str.lower()
        number = pd.to_numeric(value, errors="coerce")
        hit = pd.Series(False, index=rows.index)
        for name, harmless in self.words.items():
            hit |= (item == name) & ~value.isin(harmless)
        for name, limit in self.below.items():
            hit |= (item == name) & (number < limit)
        for name, limit in self.at_least.items():
            hit |= (item == name) & (number >= limit)
        return hit


_NONE = ("none",)
PHENOTYPES: tuple[Phenotype, ...] = (
    Phenotype(
        "encephalopathy",
        {
            **dict.fromkeys(
                ("encephalopathy", "confusion", "delirium", "somnolence", "depressed_consciousness"), _NONE
            ),
            "consciousness": ("spontaneous",),
            "cognitive_test_untestable": ("no", "false", "0"),
        },
        {"ice_total": 10, "ice_orientation": 4, "ice_attention": 1, "ice_command": 1},
        {"capd_total": 9},
    ),
    Phenotype("aphasia", {"aphasia": _NONE}, {"ice_naming": 3}, {}),
    Phenotype("seizure", {"seizure": _NONE}, {}, {}, by_exception=True),
    Phenotype("oedema", {"cerebral_oedema": _NONE, "icp_sign": _NONE}, {}, {}, by_exception=True),
)


def phenotype_table(
    cohort: Cohort, plan: pd.DataFrame, horizon: Horizon, phenotypes: Sequence[Phenotype] = PHENOTYPES
) -> pd.DataFrame:
    """Whether each phenotype came within a window from the landmark.

    Parameters
    ----------
    cohort
        With assessments.
    plan
        patient_id, landmark_h (hours since infusion) of the rows.
    horizon
        How far to look.

    Returns
    -------
    DataFrame
        Indexed like the plan (patient_id, landmark_h), one column a phenotype: 1 came, 0 was looked for and did not
        come, NaN not at risk (had it before) or not looked for.
    """
    unknown = [i for p in phenotypes for i in p.items if i not in vocabulary.items()]
    if unknown:
        raise KeyError(f"no such items in the vocabulary: {unknown}")
    rows = cohort.assessments
    rows = rows[rows["attributable"].fillna(True).astype(bool) & rows["value"].notna() & (rows["time_h"] >= 0)]
    index = pd.MultiIndex.from_frame(plan[["patient_id", "landmark_h"]])
    found = {p.name: _labels(rows, plan.reset_index(drop=True), horizon, p) for p in phenotypes}
    return pd.DataFrame(found, index=index)


def _labels(rows: pd.DataFrame, plan: pd.DataFrame, horizon: Horizon, phenotype: Phenotype) -> np.ndarray:
    mine = rows[rows["item"].isin(phenotype.items)]
    hits = mine[phenotype.found(mine)]
    looked = rows if phenotype.by_exception else mine
    start = plan["landmark_h"].to_numpy(dtype=float)
    end = start + horizon.window(start)
    first = plan["patient_id"].map(hits.groupby("patient_id")["available_h"].min()).to_numpy(dtype=float)
    status = np.full(len(plan), np.nan)
    status[_any_within(looked, plan["patient_id"], start, end)] = 0.0
    status[(first > start) & (first <= end)] = 1.0
    status[first <= start] = np.nan
    return status


def _any_within(rows: pd.DataFrame, patient: pd.Series, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Whether each patient has a row that became known in (start, end]."""
    times = {p: np.sort(part.to_numpy()) for p, part in rows.groupby("patient_id")["available_h"]}
    none = np.empty(0)
    ends = zip(patient, start, end, strict=True)
    return np.array(
        [
            np.searchsorted(times.get(p, none), b, side="right") > np.searchsorted(times.get(p, none), a, side="right")
            for p, a, b in ends
        ],
        dtype=bool,
    )
