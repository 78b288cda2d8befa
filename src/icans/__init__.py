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
    "Dose": "icans.mechanism.doses.Dose",
    "IcansError": "icans.core.errors.IcansError",
    "ModelError": "icans.core.errors.ModelError",
    "Problem": "icans.core.errors.Problem",
    "Reset": "icans.mechanism.doses.Reset",
    "Switch": "icans.mechanism.doses.Switch",
    "Trajectory": "icans.mechanism.trajectory.Trajectory",
    "Trigger": "icans.mechanism.doses.Trigger",
    "check": "icans.cohort.check.check",
    "demo_cohort": "icans.datasets.demo.demo_cohort",
    "grade_cohort": "icans.harmonize.grading.cohort.grade_cohort",
    "harmonize_cohort": "icans.harmonize.pipeline.harmonize",
    "load": "icans.datasets.loading.load",
    "make": "icans.cohort.cohort.make",
    "patient_model": "icans.mechanism.patient.patient_model",
    "read": "icans.cohort.readers.read",
    "read_folder": "icans.cohort.folder.read_folder",
    "read_parameters": "icans.mechanism.parameters.read_parameters",
    "read_study": "icans.study.config.read_study",
    "regimens": "icans.mechanism.regimens.regimens",
    "run_study": "icans.study.main.run_study",
    "simulate": "icans.mechanism.engine.simulate.simulate",
    "virtual_population": "icans.population.virtual.virtual_population",
    "write_folder": "icans.cohort.folder.write_folder",
    "write_sbml": "icans.exchange.sbml.write_sbml",
}

__all__ = [
    "Cohort",
    "DataError",
    "Dose",
    "IcansError",
    "ModelError",
    "Problem",
    "Reset",
    "Switch",
    "Trajectory",
    "Trigger",
    "check",
    "demo_cohort",
    "grade_cohort",
    "harmonize_cohort",
    "load",
    "make",
    "patient_model",
    "read",
    "read_folder",
    "read_parameters",
    "read_study",
    "regimens",
    "run_study",
    "simulate",
    "virtual_population",
    "write_folder",
    "write_sbml",
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
