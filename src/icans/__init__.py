"""icans: predicting and preventing ICANS, the neurotoxicity that follows CAR T-cell therapy.

Research use only: not a medical device, not for decisions on the care of a patient.

>>> import icans as ic
>>> cohort = ic.demo_cohort(n=60, seed=1)
>>> cohort.synthetic
True

Names are imported from their homes when they are first used, so that ``import icans`` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

#: Public name -> where it lives.
HOMES: dict[str, str] = {
    "Cohort": "icans.cohort.cohort.Cohort",
    "DataError": "icans.core.errors.DataError",
    "IcansError": "icans.core.errors.IcansError",
    "Problem": "icans.core.errors.Problem",
    "check": "icans.cohort.check.check",
    "demo_cohort": "icans.datasets.demo.demo_cohort",
    "grade_cohort": "icans.harmonize.grading.cohort.grade_cohort",
    "harmonize_cohort": "icans.harmonize.pipeline.harmonize",
    "load": "icans.datasets.loading.load",
    "make": "icans.cohort.cohort.make",
    "read": "icans.cohort.readers.read",
    "read_folder": "icans.cohort.folder.read_folder",
    "read_study": "icans.study.config.read_study",
    "run_study": "icans.study.main.run_study",
    "write_folder": "icans.cohort.folder.write_folder",
}

__all__ = [
    "Cohort",
    "DataError",
    "IcansError",
    "Problem",
    "check",
    "demo_cohort",
    "grade_cohort",
    "harmonize_cohort",
    "load",
    "make",
    "read",
    "read_folder",
    "read_study",
    "run_study",
    "write_folder",
]


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'icans' has no attribute {name!r}")
    module, attribute = HOMES[name].rsplit(".", 1)
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
