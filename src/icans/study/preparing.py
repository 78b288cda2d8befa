"""The cohort of a study made ready, in a module of its own: one forecast needs no more of what training imports."""

from __future__ import annotations

from dataclasses import dataclass

from icans.cohort.cohort import Cohort
from icans.core.progress import stage
from icans.harmonize.grading.cohort import grade_cohort
from icans.harmonize.pipeline import Harmonized, HarmonizeSettings, harmonize
from icans.study.config import Study
from icans.study.source import read_cohort


@dataclass(frozen=True)
class Prepared:
    """A cohort read, harmonised and graded, and the cohort as delivered."""

    delivered: Cohort
    harmonized: Harmonized
    cohort: Cohort


def prepare(study: Study) -> Prepared:
    """The cohort of a study, ready for features; the same road as ``icans run`` takes."""
    with stage("harmonising"):
        delivered = read_cohort(study.cohort, study.study.seed)
        mended = harmonize(delivered, HarmonizeSettings(apply=study.harmonize.apply_confidence))
        return Prepared(delivered, mended, grade_cohort(mended.cohort))
