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
    "Administration": "icans.population.nlme.records.Administration",
    "Cohort": "icans.cohort.cohort.Cohort",
    "DataError": "icans.core.errors.DataError",
    "Dose": "icans.mechanism.doses.Dose",
    "Effect": "icans.population.nlme.model.Effect",
    "FeatureSpec": "icans.forecast.features.FeatureSpec",
    "Forecast": "icans.forecast.forecast.Forecast",
    "IcansError": "icans.core.errors.IcansError",
    "Individual": "icans.population.nlme.model.Individual",
    "Mixture": "icans.population.nlme.model.Mixture",
    "ModelError": "icans.core.errors.ModelError",
    "Observation": "icans.population.nlme.observed.Observation",
    "Outcome": "icans.population.nlme.observed.Outcome",
    "Posterior": "icans.population.posterior.value.Posterior",
    "Problem": "icans.core.errors.Problem",
    "Reset": "icans.mechanism.doses.Reset",
    "Scale": "icans.population.nlme.scales.Scale",
    "Subject": "icans.population.nlme.records.Subject",
    "Switch": "icans.mechanism.doses.Switch",
    "Trajectory": "icans.mechanism.trajectory.Trajectory",
    "Trigger": "icans.mechanism.doses.Trigger",
    "check": "icans.cohort.check.check",
    "compartment_model": "icans.population.nlme.compartments.compartment_model",
    "cross_validate": "icans.forecast.crossval.cross_validate",
    "demo_cohort": "icans.datasets.demo.demo_cohort",
    "fit_final": "icans.forecast.final.fit_final",
    "fit_focei": "icans.population.fit.focei.fit_focei",
    "fit_laplace": "icans.population.fit.focei.fit_laplace",
    "fit_nuts": "icans.population.fit.nuts.fit_nuts",
    "fit_saem": "icans.population.fit.saem.fit_saem",
    "forecast_cohort": "icans.study.applying.forecast_cohort",
    "forecast_courses": "icans.population.posterior.courses.forecast_courses",
    "formula_model": "icans.population.nlme.formulas.formula_model",
    "grade_cohort": "icans.harmonize.grading.cohort.grade_cohort",
    "harmonize_cohort": "icans.harmonize.pipeline.harmonize",
    "individual_posterior": "icans.population.posterior.individual.individual_posterior",
    "load": "icans.datasets.loading.load",
    "make": "icans.cohort.cohort.make",
    "make_records": "icans.population.nlme.records.make_records",
    "nlme_model": "icans.population.nlme.model.nlme_model",
    "npde": "icans.population.diagnose.npde.npde",
    "ode_model": "icans.population.nlme.ode.ode_model",
    "patient_model": "icans.mechanism.patient.patient_model",
    "performance": "icans.evaluate.performance.performance",
    "predictions": "icans.population.diagnose.predictions.predictions",
    "read": "icans.cohort.readers.read",
    "read_fit_config": "icans.study.fit_config.read_fit_config",
    "read_folder": "icans.cohort.folder.read_folder",
    "read_model": "icans.forecast.model_file.read_model",
    "read_nonmem_records": "icans.population.nlme.nonmem_records.read_nonmem_records",
    "read_parameters": "icans.mechanism.parameters.read_parameters",
    "read_study": "icans.study.config.read_study",
    "regimens": "icans.mechanism.regimens.regimens",
    "run_fit": "icans.study.fit.run_fit",
    "run_study": "icans.study.main.run_study",
    "seal": "icans.evaluate.registry.seal",
    "simulate": "icans.mechanism.engine.simulate.simulate",
    "train_model": "icans.study.training.train_model",
    "validate_models": "icans.study.validation.validate_models",
    "verify": "icans.evaluate.registry.verify",
    "virtual_population": "icans.population.virtual.virtual_population",
    "vpc": "icans.population.diagnose.vpc.vpc",
    "write_folder": "icans.cohort.folder.write_folder",
    "write_model": "icans.forecast.model_file.write_model",
    "write_nonmem_tables": "icans.exchange.nonmem_out.write_nonmem_tables",
    "write_petab": "icans.exchange.petab.write_petab",
    "write_sbml": "icans.exchange.sbml.write_sbml",
}

__all__ = [
    "Administration",
    "Cohort",
    "DataError",
    "Dose",
    "Effect",
    "FeatureSpec",
    "Forecast",
    "IcansError",
    "Individual",
    "Mixture",
    "ModelError",
    "Observation",
    "Outcome",
    "Posterior",
    "Problem",
    "Reset",
    "Scale",
    "Subject",
    "Switch",
    "Trajectory",
    "Trigger",
    "check",
    "compartment_model",
    "cross_validate",
    "demo_cohort",
    "fit_final",
    "fit_focei",
    "fit_laplace",
    "fit_nuts",
    "fit_saem",
    "forecast_cohort",
    "forecast_courses",
    "formula_model",
    "grade_cohort",
    "harmonize_cohort",
    "individual_posterior",
    "load",
    "make",
    "make_records",
    "nlme_model",
    "npde",
    "ode_model",
    "patient_model",
    "performance",
    "predictions",
    "read",
    "read_fit_config",
    "read_folder",
    "read_model",
    "read_nonmem_records",
    "read_parameters",
    "read_study",
    "regimens",
    "run_fit",
    "run_study",
    "seal",
    "simulate",
    "train_model",
    "validate_models",
    "verify",
    "virtual_population",
    "vpc",
    "write_folder",
    "write_model",
    "write_nonmem_tables",
    "write_petab",
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
