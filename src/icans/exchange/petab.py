"""A population model and its records as a PEtab v2 problem.

PEtab knows no random effects. What is written is each subject's posterior given the population: the random effects
``eta_<parameter>_<subject>`` (and ``kappa_...`` of occasions) are parameters to estimate with normal priors, typical
values, effects of covariates and residual errors are parameters with their present values (not estimated), and a
subject's individual parameters are formulas of these in its first condition. Doses are conditions of later periods.

A measurement at the time of a dose is one before it here, and after it in PEtab: such doses (and those at the very
start) are written 1e-6 hours later.

References
----------
Schmiester et al. 2021, doi 10.1371/journal.pcbi.1008646 (PEtab); https://petab.readthedocs.io (version 2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from icans.core.errors import ModelError, Problem
from icans.core.files import write_text
from icans.exchange import petab_model
from icans.exchange.petab_model import number
from icans.population.nlme.compartments import Compartments
from icans.population.nlme.likelihood import bind
from icans.population.nlme.model import Effect, Individual, NlmeModel
from icans.population.nlme.observed import Observation
from icans.population.nlme.ode import OdeModel
from icans.population.nlme.population import Population, error_layout, start
from icans.population.nlme.records import Records, Subject

#: Hours by which a dose is later that has an observation at its time.
JUST_AFTER_H = 1e-6
YAML = """format_version: 2.0.0
parameter_files: [parameters.tsv]
model_files:
  model:
    language: sbml
    location: model.xml
measurement_files: [measurements.tsv]
condition_files: [conditions.tsv]
experiment_files: [experiments.tsv]
observable_files: [observables.tsv]
"""


def write_petab(
    model: NlmeModel, records: Records, folder: Path | str, population: Population | None = None
) -> list[Problem]:  # fmt: skip
    """Write a PEtab v2 problem (``problem.yaml``); ``population``: of a fit, the declared starts if None.

    Returns what PEtab has no place for and was left out: correlations of random effects.

    Raises
    ------
    ModelError
        What cannot be said in PEtab and would change the problem: censored values, outcomes, Student errors, classes,
        factors of batches, steady states, lags that vary, and structural models of third parties: all of them; or what
        :func:`~icans.population.nlme.likelihood.bind` refuses.
    """
    bind(model, records)
    population = population or start(model)
    tables = _Tables(model, population)
    problems = _refused(model, records)
    if isinstance(model.structural, Compartments):
        writer = petab_model.compartments_writer(model.structural)
    elif isinstance(model.structural, OdeModel):
        writer = petab_model.ode_writer(model.structural)
    else:
        expected = "a compartment model or a compiled model"
        found = type(model.structural).__name__
        raise ModelError([*problems, Problem("model", None, "structural", found, expected, "Write its SBML yourself.")])
    problems += writer.problems
    tables.population()
    tables.observables(writer.outputs)
    for place, s in enumerate(records.subjects, 1):
        tables.subject(place, s, problems)
    if problems:
        raise ModelError(problems)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "model.xml", writer.sbml)
    write_text(folder / "problem.yaml", YAML)
    for name, frame in tables.frames().items():
        write_text(folder / f"{name}.tsv", frame.to_csv(sep="\t", index=False))
    off = [np.abs(m - np.diag(np.diag(m))).max(initial=0.0) for m in (population.omega, population.gamma)]
    remedy = "Priors in PEtab are of one parameter each: correlations are left out."
    return [Problem("omega", None, None, f"{v:g}", "uncorrelated random effects", remedy, "warning")
            for v in off if v > 0.0]  # fmt: skip


def _refused(model: NlmeModel, records: Records) -> list[Problem]:
    problems = []
    for o in model.observed:
        if not isinstance(o, Observation):
            problems.append(Problem("observed", None, o.name, o.kind, "measured values", "Leave the outcome out."))
        elif o.error in ("student", "logstudent") or (o.error == "lognormal" and o.floor != 0.0) or o.batches:
            found = "factors of batches" if o.batches else f"{o.error}, floor {o.floor:g}"
            remedy = "Choose another error model for the export."
            problems.append(Problem("observed", None, o.name, found, "a normal or log-normal error", remedy))
    if model.mixture is not None:
        found = ", ".join(model.mixture.classes)
        problems.append(Problem("mixture", None, None, found, "no classes", "Write each class's problem."))
    for s in records.subjects:
        for row in np.flatnonzero(s.observations["censor"].to_numpy() != "none"):
            remedy = "Leave censored rows out before."
            found = str(s.observations["censor"].iloc[row])
            problems.append(Problem(f"subject {s.id}", int(row) + 1, "censor", found, "a quantified value", remedy))
    return problems


def identifier(text: str) -> str:
    """A name that PEtab and SBML take."""
    plain = re.sub(r"\W", "_", text, flags=re.ASCII)
    return plain if plain and not plain[0].isdigit() else f"_{plain}"


@dataclass
class _Tables:
    model: NlmeModel
    values: Population
    parameters: list[tuple[object, ...]] = field(default_factory=list)
    observed: list[tuple[object, ...]] = field(default_factory=list)
    conditions: list[tuple[str, str, str]] = field(default_factory=list)
    experiments: list[tuple[str, float, str]] = field(default_factory=list)
    measurements: list[tuple[object, ...]] = field(default_factory=list)

    def known(self, name: str, value: float) -> None:
        """A parameter with its present value."""
        self.parameters.append((name, "", "", number(value), "false", "", ""))

    def population(self) -> None:
        """Typical values (on their scales), effects and residual errors."""
        for p, q in enumerate(self.model.parameters):
            self.known(f"mu_{identifier(q.name)}", float(self.values.typical[p]))
        for e, value in zip(self.model.effects, self.values.effects, strict=True):
            self.known(_effect_id(e), float(value))

    def observables(self, outputs: Mapping[str, str]) -> None:
        """Formulas of observables and their noise; parameters of the noise."""
        layout = error_layout(self.model.observed)
        for k, o in enumerate(self.model.observed):
            if not isinstance(o, Observation):
                continue
            name = identifier(o.name)
            for e, value in zip(layout, self.values.errors, strict=True):
                if e.observed == k and e.field in ("a", "b"):
                    self.known(f"sd_{e.field}_{name}", float(value))
            f, a, b = outputs[o.output], f"sd_a_{name}", f"sd_b_{name}"
            size = f"({f} + {number(o.floor)})" if o.floor else f"({f})"
            noise = {"proportional": f"{b} * {size}", "combined": f"sqrt({a}^2 + ({b} * {size})^2)",
                     "combined1": f"{a} + {b} * {size}"}.get(o.error, a)  # fmt: skip
            kind = "log-normal" if o.error == "lognormal" else "normal"
            self.observed.append((f"obs_{name}", f, noise, kind))

    def subject(self, place: int, s: Subject, problems: list[Problem]) -> None:
        """Parameters, conditions, the experiment and the measurements of one subject."""
        own = f"s{place}"
        fixed, formulas = self._individual(own, s, 1)
        structural = self.model.structural
        if isinstance(structural, Compartments):
            names = dict(zip(structural.parameters, structural.canonical, strict=True))
            canonical = {names[n]: v for n, v in fixed.items()}
            changes = petab_model.compartment_doses(
                structural, s, canonical, {names[n]: f for n, f in formulas.items()}, problems
            )
            begin = min([0.0, *changes, *s.observations["time_h"]])
        else:
            assert isinstance(structural, OdeModel)
            changes = petab_model.ode_doses(structural, s, _involved(structural), problems)
            begin = structural.t_start
        for o, t in enumerate(s.occasions[1:] if self.model.occasional else (), 2):
            _, later = self._individual(own, s, o)
            changes.setdefault(t, {}).update(self._targets(later))
        seen = set(s.observations["time_h"])
        periods = {begin: self._targets(formulas) | self._covariates(s)}
        for t in sorted(changes):
            periods.setdefault(t + JUST_AFTER_H if t in seen or t == begin else t, {}).update(changes[t])
        for n, (t, targets) in enumerate(sorted(periods.items())):
            condition = f"{own}_c{n}"
            self.experiments.append((own, t, condition))
            self.conditions += [(condition, target, formula) for target, formula in targets.items()]
        for row in s.observations.itertuples():
            self.measurements.append((f"obs_{identifier(str(row.observable))}", own, row.time_h, number(row.value)))

    def _individual(self, own: str, s: Subject, occasion: int) -> tuple[dict[str, float], dict[str, str]]:
        """Natural values of what does not vary, and formulas of all individual parameters."""
        fixed, formulas = {}, {}
        for p, q in enumerate(self.model.parameters):
            phi, value = f"mu_{identifier(q.name)}", float(self.values.typical[p])
            for e, coefficient in zip(self.model.effects, self.values.effects, strict=True):
                if e.parameter == q.name:
                    x = _design(e, float(s.covariates.get(e.covariate, np.nan)))
                    phi += f" + {_effect_id(e)} * {number(x)}"
                    value += coefficient * x
            if p in self.model.varying:
                j = self.model.varying.index(p)
                phi += " + " + self._random(f"eta_{identifier(q.name)}_{own}", float(self.values.omega[j, j]))
            if p in self.model.occasional:
                j = self.model.occasional.index(p)
                name = f"kappa_{identifier(q.name)}_{own}_o{occasion}"
                phi += " + " + self._random(name, float(self.values.gamma[j, j]))
            if p not in self.model.varying and p not in self.model.occasional:
                fixed[q.name] = float(q.scale.back(value))
            formulas[q.name] = _back(q, phi)
        return fixed, formulas

    def _random(self, name: str, variance: float) -> str:
        if all(row[0] != name for row in self.parameters):
            sd = float(np.sqrt(variance))
            prior = f"0;{number(sd)}"
            self.parameters.append((name, number(-10.0 * sd), number(10.0 * sd), "0.0", "true", "normal", prior))
        return name

    def _targets(self, formulas: Mapping[str, str]) -> dict[str, str]:
        """What the individual parameters set in the SBML."""
        structural = self.model.structural
        if isinstance(structural, Compartments):
            names = dict(zip(structural.parameters, structural.canonical, strict=True))
            return {names[n]: f for n, f in formulas.items()}
        assert isinstance(structural, OdeModel)
        table, out = structural.model.parameters, {}
        for target in _involved(structural):
            parts = [f"({formulas[target]})" if target in structural.parameters and target not in structural.links
                     else number(float(table[target].value))]  # fmt: skip
            for p, powers in structural.links.items():
                if target in powers:
                    parts.append(f"({formulas[p]})^({number(powers[target])})")
            out[target] = " * ".join(parts)
        return out

    def _covariates(self, s: Subject) -> dict[str, str]:
        structural = self.model.structural
        if not isinstance(structural, OdeModel):
            return {}
        involved = _involved(structural)
        return {p: number(s.covariates[c]) for p, c in structural.covariates.items() if p not in involved}

    def frames(self) -> dict[str, pd.DataFrame]:
        """The tables of the problem."""
        return {
            "parameters": pd.DataFrame(self.parameters, columns=["parameterId", "lowerBound", "upperBound",
                                       "nominalValue", "estimate", "priorDistribution", "priorParameters"]),
            "observables": pd.DataFrame(self.observed, columns=["observableId", "observableFormula", "noiseFormula",
                                        "noiseDistribution"]),
            "conditions": pd.DataFrame(self.conditions, columns=["conditionId", "targetId", "targetValue"]),
            "experiments": pd.DataFrame(self.experiments, columns=["experimentId", "time", "conditionId"]),
            "measurements": pd.DataFrame(self.measurements, columns=["observableId", "experimentId", "time",
                                         "measurement"]),
        }  # fmt: skip


def _involved(structural: OdeModel) -> tuple[str, ...]:
    linked = [q for p in structural.parameters for q in structural.links.get(p, {})]
    return tuple(dict.fromkeys([p for p in structural.parameters if p not in structural.links] + linked))


def _effect_id(e: Effect) -> str:
    return f"beta_{identifier(e.parameter)}_{identifier(e.covariate)}"


def _design(e: Effect, x: float) -> float:
    if e.form == "log":
        return float(np.log(x / e.centre))
    return x - e.centre if e.form == "linear" else float(x == 1.0)


def _back(q: Individual, phi: str) -> str:
    """The formula of a natural value."""
    scale = q.scale
    if scale.kind == "log" or (scale.kind == "boxcox" and scale.power == 0.0):
        return f"exp({phi})"
    if scale.kind == "logit":
        return f"{number(scale.low)} + {number(scale.high - scale.low)} / (1 + exp(-({phi})))"
    if scale.kind == "boxcox":
        return f"(1 + {number(scale.power)} * ({phi}))^(1 / {number(scale.power)})"
    return phi
