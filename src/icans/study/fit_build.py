"""From the file of a fit to records and a population model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from icans.core.errors import ConfigError, Problem
from icans.core.files import sha256
from icans.mechanism.doses import Dose
from icans.population.nlme.model import Effect, Individual, Mixture, NlmeModel, Prior, nlme_model
from icans.population.nlme.observed import Observation, Outcome
from icans.population.nlme.records import Records
from icans.population.nlme.scales import Scale
from icans.population.nlme.structural import Structural
from icans.study.fit_config import FitConfig, ParameterSection, PriorSection

if TYPE_CHECKING:
    from icans.mechanism.model import PatientModel


@dataclass(frozen=True)
class FitData:
    """Records and where they come from. ``notes``: what was done to them; ``census``: what there is of each analyte."""

    records: Records
    inputs: Mapping[str, str]
    synthetic: bool
    notes: tuple[str, ...] = ()
    census: pd.DataFrame = field(default_factory=pd.DataFrame)


def read_data(config: FitConfig, folder: Path) -> FitData:
    """The records that a file of a fit names; relative paths begin at ``folder``.

    Raises
    ------
    DataError, ModelError
        With every problem of the data.
    """
    section = config.data
    if section.nonmem is not None:
        from icans.population.nlme.nonmem_records import read_nonmem_records

        path = section.nonmem if section.nonmem.is_absolute() else folder / section.nonmem
        names = [o.name for o in config.observable] + [o.name for o in config.outcome]
        told: list[Problem] = []
        records = read_nonmem_records(
            path, section.observables or names[0], dosed=section.compartments or "", covariates=section.covariates,
            time_unit=section.time_unit, ignore=section.ignore, told=told,
        )  # fmt: skip
        return FitData(records, {path.name: sha256(path)}, section.synthetic, tuple(str(p) for p in told))
    return _cohort(config, folder)


def _cohort(config: FitConfig, folder: Path) -> FitData:
    from icans.cohort.readers import read
    from icans.datasets import catalogue, load
    from icans.harmonize.pipeline import harmonize
    from icans.study.population_records import population_records

    section = config.data
    name = str(section.cohort)
    path = folder / name
    cohort = load(name) if name in catalogue() and not path.exists() else read(path)
    made = harmonize(cohort).cohort
    until = None if section.until_day is None else 24.0 * section.until_day
    doses = _doses(config, made.treatments, made.patients["patient_id"].astype(str).tolist())
    covariates = _covariates(made.patients, section.covariates)
    prepared = population_records(made, section.analytes, doses, covariates=covariates, until_h=until)
    inputs = {str(k): str(v) for k, v in made.provenance.inputs.items()}
    return FitData(prepared.records, inputs, made.synthetic, prepared.notes, prepared.census)


def _doses(config: FitConfig, treatments: pd.DataFrame, patients: list[str]) -> dict[str, tuple[Dose, ...]]:
    """The product at hour 0, and every recorded dose of the model's drugs.

    Raises
    ------
    ConfigError
        No number of cells; doses of the model's drugs without amount or unit (how many of each).
    """
    if config.data.cells is None:
        remedy = "Say how many CAR T cells a patient was given (data.cells)."
        raise ConfigError([Problem("fit", None, "data.cells", None, "a number of cells", remedy)])
    mine = treatments[treatments["drug"].isin(config.model.drugs)]
    bare = mine[mine["amount"].isna() | mine["unit"].isna()]
    if len(bare):
        remedy = "Give amounts, or leave the drug out of model.drugs."
        expected = "doses with amount and unit"
        raise ConfigError([
            Problem("treatments", None, "amount", f"{len(rows)} doses of {drug} without", expected, remedy)
            for drug, rows in bare.groupby("drug")
        ])  # fmt: skip
    out = {p: [Dose(0.0, "car_t", config.data.cells, "cells")] for p in patients}
    for r in mine.itertuples():
        hours = 0.0 if pd.isna(r.duration_h) else float(r.duration_h)
        route = "iv" if pd.isna(r.route) else str(r.route)
        out[str(r.patient_id)].append(Dose(float(r.time_h), str(r.drug), float(r.amount), str(r.unit), route, hours))
    return {p: tuple(doses) for p, doses in out.items()}


def _covariates(patients: pd.DataFrame, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    missing = [n for n in names if n not in patients]
    if missing:
        remedy = f"The table of patients has: {', '.join(map(str, patients.columns))}."
        raise ConfigError([Problem("fit", None, "data.covariates", n, "a column of patients", remedy) for n in missing])
    table = patients.set_index(patients["patient_id"].astype(str))
    numbers = {n: pd.to_numeric(table[n], errors="coerce") for n in names}
    return {i: {n: float(numbers[n][i]) for n in names if pd.notna(numbers[n][i])} for i in table.index}


def make_model(config: FitConfig) -> NlmeModel:
    """The population model of a file of a fit.

    Raises
    ------
    ModelError
        Everything about names, values and structure that is wrong.
    """
    structural, table = _structural(config)
    mixture = None
    if config.mixture is not None:
        m = config.mixture
        mixture = Mixture(m.classes, m.shares, {k: tuple(v) for k, v in m.shifts.items()})
    observed: list[Observation | Outcome] = [
        Observation(**{**o.model_dump(), "unit": o.unit or "1", "batches": tuple(o.batches)}) for o in config.observable
    ]
    observed += [Outcome(**{**o.model_dump(), "cuts": tuple(o.cuts)}) for o in config.outcome]
    effects = [
        Effect(e.parameter, e.covariate, e.form, e.value, e.centre, e.fixed, _prior(e.prior)) for e in config.effect
    ]
    return nlme_model(
        structural, [_individual(p, table) for p in config.parameter], observed, blocks=config.correlated,
        iov_blocks=config.correlated_occasions, effects=effects, mixture=mixture,
    )  # fmt: skip


def _structural(config: FitConfig) -> tuple[Structural, Mapping[str, tuple[float, str]]]:
    """The structural model, and typical values (with units) of the parameters that it already has."""
    m = config.model
    if m.kind == "compartments":
        from icans.population.nlme.compartments import compartment_model

        made = compartment_model(
            m.compartments, m.absorption, parameterisation=m.parameterisation, lag=m.lag,
            bioavailability=m.bioavailability, scale=m.scale,
        )  # fmt: skip
        return made, {}
    from icans.mechanism.patient import patient_model
    from icans.population.nlme.ode import ode_model

    patient: PatientModel = patient_model(m.drugs, brain=m.brain or bool(m.drugs))
    outputs = dict.fromkeys([o.output for o in config.observable] + [o.output for o in config.outcome])
    names = [p.name for p in config.parameter]
    known = {row.name: (row.value, row.unit) for row in patient.parameters.rows}
    return ode_model(patient, names, tuple(outputs), links=m.links, rtol=m.rtol), known


def _individual(p: ParameterSection, table: Mapping[str, tuple[float, str]]) -> Individual:
    value = p.value if p.value is not None else table.get(p.name, (float("nan"), ""))[0]
    unit = table.get(p.name, (0.0, p.unit))[1] if p.unit == "1" else p.unit
    return Individual(p.name, value, Scale(p.scale, p.low, p.high, p.power), p.iiv, p.iov, p.fixed, p.iiv_fixed, unit,
                      _prior(p.prior), p.iiv_prior)  # fmt: skip


def _prior(given: PriorSection | None) -> Prior | None:
    return None if given is None else Prior(given.mean, given.sd)
