"""From a scenario to what the engine wants: a model with the drugs that are used, patients, and each arm's doses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import ModelError
from icans.core.random import stream
from icans.mechanism.doses import Dose, Trigger
from icans.mechanism.parameters import ParameterTable, bound_problems
from icans.mechanism.patient import patient_model
from icans.mechanism.regimens import regimens as therapy_regimens
from icans.mechanism.therapies import therapies
from icans.population import artefact, studies
from icans.population import care as supportive
from icans.population.covariates import distribution
from icans.population.products import draw_patients, multipliers, product
from icans.population.sampling import Individuals, individuals
from icans.population.tilt import weights_of
from icans.study.simulate_config import ArmSection, DoseSection, PatientsSection, Scenario
from icans.study.simulate_names import PER_BODY, cell_regimens, split_unit

if TYPE_CHECKING:
    from icans.mechanism.model import PatientModel
    from icans.mechanism.regimens import Regimen, Rule

#: Seeds tried until the one patient is no low expander (a typical patient is none).
SEEDS_TRIED = 200
#: Patients drawn for each that is chosen, where they are to be like those of a trial.
POOL = 10

#: What grades and probabilities of an open barrier are read from.
BENEATH = ("crs_severity", "encephalopathy", "bbb_score", "bbb_logit", "BBB_HAZ", "qalb_limit", "iechs_drive",
           "SEIZ_HAZ", "OEDEMA")  # fmt: skip


@dataclass(frozen=True)
class Patients:
    """Virtual patients: covariates (one row each) and parameters (in the model's order), the same in every arm.

    ``ids``: number of each patient in the virtual population of the seed, from 1 (they are not 1 to n where patients
    were chosen to be like those of a trial); chances of reading follow it.
    """

    covariates: pd.DataFrame
    parameters: npt.NDArray[np.float64]
    ids: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.covariates)

    def part(self, rows: slice) -> Patients:
        """Some of them."""
        return Patients(self.covariates.iloc[rows].reset_index(drop=True), self.parameters[rows], self.ids[rows])


def used_drugs(scenario: Scenario) -> tuple[str, ...]:
    """Drugs that any arm may give: one model serves all arms, so that patients are the same to the last bit."""
    found: set[str] = set()
    for arm in scenario.arms:
        found |= set(supportive.drugs(care_of(scenario, arm)))
        found |= {drug for plan in plans(arm) for drug in plan.drugs}
        found |= {d.drug for d in (*arm.doses, *(d for t in arm.triggers for d in t.doses))}
    return tuple(sorted(found - {"car_t"}))


def plans(arm: ArmSection) -> list[Regimen]:
    """The regimens of therapies of an arm (those that only change how cells are given are left out)."""
    return [therapy_regimens()[name] for name in arm.regimens if name in therapy_regimens()]


def hypothetical_arms(scenario: Scenario) -> tuple[str, ...]:
    """Arms that give a drug, or use one, in a way of which there are no human data."""
    return tuple(
        arm.name
        for arm in scenario.arms
        if any(plan.hypothetical for plan in plans(arm))
        or any(d.drug in therapies() and therapies()[d.drug].hypothetical
               for d in (*arm.doses, *(d for t in arm.triggers for d in t.doses)))
    )  # fmt: skip


def care_of(scenario: Scenario, arm: ArmSection) -> str:
    """Supportive care of an arm."""
    return arm.care if arm.care is not None else scenario.patients.care


def scenario_model(scenario: Scenario) -> PatientModel:
    """The patient model with the drugs of the scenario."""
    return patient_model(used_drugs(scenario))


def make_patients(scenario: Scenario, model: PatientModel) -> Patients:
    """Patients of a scenario.

    Raises
    ------
    ModelError
        Values outside their bounds, with names; nothing has been integrated by then.
    """
    who, seed = scenario.patients, scenario.simulation.seed
    known = calibration(scenario)
    pool = POOL * who.n if who.trial else who.n
    covariates = draw_patients(pool, who.product, who.disease, seed)
    if who.is_typical:
        covariates = _typical_covariates(covariates, who.disease)
    covariates = _fixed(covariates, who)
    factors = multipliers(who.product, who.disease, known.factors)
    drawn = _typical(model, covariates, seed, factors) if who.is_typical else individuals(
        model.parameters, covariates, seed, factors
    )  # fmt: skip
    ids = np.arange(1, pool + 1)
    if who.trial:
        ids = np.sort(_like_trial(who, known, drawn, seed)) + 1
    values = drawn.values[ids - 1]
    for name, value in who.parameters.items():
        if name in model.parameters:
            values[:, model.parameters.place(name)] = value
    problems = bound_problems(model.parameters.rows, values)
    if problems:
        raise ModelError(problems)
    return Patients(covariates.iloc[ids - 1].reset_index(drop=True), values, ids)


def _typical(
    model: PatientModel, covariates: pd.DataFrame, seed: int, factors: Mapping[str, float]
) -> Individuals:  # fmt: skip
    """The typical patient: no deviation of any parameter, and no low expander."""
    table = ParameterTable(tuple(replace(row, iiv=0.0) for row in model.parameters.rows))
    for k in range(SEEDS_TRIED):
        drawn = individuals(table, covariates, seed + k, factors)
        if not drawn.low_expander[0]:
            break
    return drawn


def _like_trial(
    who: PatientsSection, known: artefact.Calibration, drawn: Individuals, seed: int
) -> npt.NDArray[np.int64]:  # fmt: skip
    """Places of ``n`` patients of the pool, drawn without replacement by the weights of a trial."""
    about = studies.study(who.trial or "")
    coefficients = known.tilts.get(about.like or about.name)
    weights = np.full(len(drawn.axes), 1.0 / len(drawn.axes))
    if coefficients is not None:
        weights = weights_of(studies.axes_of(drawn.axes), coefficients)
    weights = weights + 1e-12 / len(weights)  # so that there are always enough to draw from
    chosen = stream(seed, "simulate", "trial", who.trial).choice(
        len(weights), size=who.n, replace=False, p=weights / weights.sum()
    )  # fmt: skip
    return np.asarray(chosen, dtype=np.int64)


def calibration(scenario: Scenario) -> artefact.Calibration:
    """The stored calibration, or, where the scenario wants none, an empty one."""
    return artefact.read() if scenario.patients.calibrated else artefact.Calibration()


def _typical_covariates(covariates: pd.DataFrame, disease: str) -> pd.DataFrame:
    """Centres of the distributions; histories as most patients have them."""
    about = distribution(disease)
    changed: dict[str, object] = {name: float(entry["centre"]) for name, entry in about["numeric"].items()}
    changed |= {name: share >= 0.5 for name, share in about["share"].items()}
    changed |= {name: int(entry["least"]) for name, entry in about["count"].items()}
    return covariates.assign(**changed, z_burden=0.0, without_fludarabine=False)


def _fixed(covariates: pd.DataFrame, who: PatientsSection) -> pd.DataFrame:
    """Covariates that the scenario holds the same in all; the dose of cells follows the weight."""
    changed = covariates.assign(**who.covariates)
    if "burden" in who.covariates:
        about = distribution(who.disease)["numeric"]["burden"]
        z = (np.log(float(who.covariates["burden"])) - np.log(about["centre"])) / about["sd"]
        changed = changed.assign(z_burden=z)
    cells = product(who.product).cells(who.disease, changed["weight_kg"].to_numpy(float))
    return changed.assign(cells=cells)


def arm_doses(arm: ArmSection, patients: Patients) -> list[list[Dose]]:
    """Doses of every patient of an arm: the product (as its regimen has it), regimens, single doses."""
    fractions = [name for name in arm.regimens if name in cell_regimens()]
    made = supportive.given(patients.covariates, fractions[0] if fractions else "")
    own_cells = any(d.drug == "car_t" for d in arm.doses)
    for place, doses in enumerate(made):
        patient = patients.covariates.iloc[place]
        if own_cells:
            doses.clear()
        for plan in plans(arm):
            doses += plan.given(float(patient["weight_kg"]), _body("/m2", patient))
        doses += [_dose(entry, patient) for entry in arm.doses]
    return made


def arm_triggers(scenario: Scenario, arm: ArmSection, patients: Patients) -> tuple[Trigger, ...]:
    """Supportive care, and the arm's own triggers (dosed for the median patient)."""
    seen = calibration(scenario).readings
    median = patients.covariates.select_dtypes("number").median()
    table = supportive.tables()["typical_weight_kg"]
    weight = table.get(scenario.patients.disease, table["adult"])
    if len(patients) == 1:
        weight = float(median["weight_kg"])
    made = list(
        supportive.triggers(care_of(scenario, arm), seen.crs["astct"].cuts, seen.nt["astct"].cuts, typical_kg=weight)
    )
    cuts = {"crs": seen.crs["astct"].cuts, "icans": seen.nt["astct"].cuts}
    for plan in plans(arm):
        made += plan.triggers(weight, _surface(weight), cuts=cuts)
    for number, rule in enumerate(arm.triggers, 1):
        up = rule.above is not None
        level = rule.above if rule.above is not None else rule.below
        doses = tuple(_dose(entry, median) for entry in rule.doses)
        made.append(
            Trigger(
                rule.quantity, float(level or 0.0), "up" if up else "down", doses, delay_h=rule.delay_h,
                lockout_h=rule.lockout_h, max_times=rule.at_most, label=f"{arm.name}, rule {number}",
            )
        )  # fmt: skip
    # labels of their own, so that a firing tells which one it was
    return tuple(replace(trigger, label=f"{trigger.label} [{k}]") for k, trigger in enumerate(made, 1))


def _dose(entry: DoseSection, patient: pd.Series) -> Dose:
    unit, tail = split_unit(entry.unit)
    amount = float(entry.amount) * (_body(tail, patient) if tail else 1.0)
    every = None if entry.every_h is None else float(entry.every_h)
    return Dose(
        entry.start_h, entry.drug, amount, unit, entry.route, float(entry.duration_h), every, entry.count
    )  # fmt: skip


def _body(tail: str, patient: pd.Series) -> float:
    name = PER_BODY[tail]
    if name in patient.index:
        return float(patient[name])
    return _surface(float(patient["weight_kg"]))


def _surface(weight_kg: float) -> float:
    """Body surface from weight alone (Livingston and Lee 2001, doi 10.1152/ajpendo.2001.281.3.E586), m2."""
    return 0.1173 * weight_kg**0.6466


def plan_table(scenario: Scenario) -> pd.DataFrame:
    """What is given, for people: one row per arm and entry."""
    rows = []
    for arm in scenario.arms:
        care = care_of(scenario, arm)
        rows.append((arm.name, "car_t", scenario.patients.product, "day 0"))
        for name in arm.regimens:
            if name in cell_regimens():
                days = ", ".join(f"{h / 24:g}" for h, _ in cell_regimens()[name]["cells"])
                rows.append((arm.name, "car_t", "fractions of the dose", f"days {days}"))
        for plan in plans(arm):
            rows += [(arm.name, d.drug, f"{d.amount:g} {d.unit}", _when(asdict(d))) for d in plan.doses]
            rows += [
                (arm.name, d.drug, f"{d.amount:g} {d.unit}", _seen(rule)) for rule in plan.rules for d in rule.give
            ]
        rows += [
            (arm.name, d.drug, f"{d.amount:g} {d.unit}", _when(d.model_dump() | {"time_h": d.start_h}))
            for d in arm.doses
        ]
        for rule in arm.triggers:
            side = f"above {rule.above:g}" if rule.above is not None else f"below {rule.below:g}"
            when = f"when {rule.quantity} is {side}, at most {rule.at_most} times"
            rows += [(arm.name, d.drug, f"{d.amount:g} {d.unit}", when) for d in rule.doses]
        for name, rule in supportive.tables()["care"][care].items():
            if isinstance(rule, dict):
                seen = f"CRS grade {rule['crs']:g}" if "crs" in rule else f"ICANS grade {rule['nt']:g}"
                rows.append((arm.name, name.split("_")[0], "as needed", f"from {seen} (supportive care, {care})"))
    return pd.DataFrame(rows, columns=["arm", "drug", "amount", "when"])


def _when(entry: dict[str, object]) -> str:
    start = float(entry["time_h"]) / 24  # type: ignore[arg-type]
    text = f"day {start:g}"
    count = int(entry.get("count") or 1)  # type: ignore[call-overload]
    return text if count == 1 else f"from {text}, every {float(entry['every_h']):g} h, {count} times"  # type: ignore[arg-type]


def _seen(rule: Rule) -> str:
    if rule.watch in ("crs", "icans"):
        return f"upon {rule.watch.upper()} grade {rule.level:g}"
    return f"upon {rule.watch} {'above' if rule.direction == 'up' else 'below'} {rule.level:g}"


def quantities_of(model: PatientModel, extra: Sequence[str]) -> tuple[str, ...]:
    """Names written and shown: the usual ones that the model has, the barrier by region, and those asked for."""
    from icans.report.quantities import BARRIER, BY_NAME

    have = {*model.state_names, *(d.name for d in model.definitions)}
    usual = [n for n in BY_NAME if n in have]
    regions = [n for n in model.state_names if n.startswith(BARRIER)]
    needed = [n for n in BENEATH if n in have]
    return tuple(dict.fromkeys([*usual, *regions, *needed, *extra]))
