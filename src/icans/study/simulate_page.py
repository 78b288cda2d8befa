"""What a simulation tells: its tables, its sentences, its page, and the scenario as a file again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from icans.mechanism.therapies import therapies
from icans.report import format as fmt
from icans.report import quantities as words
from icans.report.model import RunInfo
from icans.report.simulation import SimulationData
from icans.study import simulate_results as results
from icans.study import simulate_setup as setup

if TYPE_CHECKING:
    from icans.study.simulate import Simulation
    from icans.study.simulate_config import Scenario

#: Grading schemes for people.
SCHEMES = {
    "astct": "ASTCT", "cartox": "CARTOX", "ctcae": "CTCAE", "ctcae_broad": "CTCAE (all nervous system terms)",
    "fda": "the US label", "lee": "Lee", "penn": "Penn",
}  # fmt: skip


def tables(done: Simulation) -> dict[str, pd.DataFrame]:
    """The tidy tables of a simulation by name."""
    ids = done.patients.ids
    drawn = done.patients.covariates.drop(columns="z_burden", errors="ignore")
    found = {
        "trajectories": trajectories(done), "outcomes": done.outcomes, "incidence": done.incidence, "bands": done.bands,
        "patients": drawn.assign(patient=ids), "barrier_regions": done.regional, "barrier_open": done.heads,
        "treatment": setup.plan_table(done.scenario), "worst_grades": done.worst,
    }  # fmt: skip
    if len(done.differences):
        found["differences"] = done.differences
    given = results.stacked([run.given.assign(arm=run.name) for run in done.runs])
    if len(given):
        found["given_as_needed"] = given
    if len(done.failures):
        found["failures"] = done.failures
    return found


def trajectories(done: Simulation) -> pd.DataFrame:
    """Tidy trajectories of the first patients: arm, patient, time_h, quantity, value, unit."""
    count = min(len(done.patients), done.scenario.output.patients)
    parts = []
    for run in done.runs:
        steps = len(run.times_h)
        for name, values in run.series.items():
            parts.append(pd.DataFrame({
                "arm": pd.Categorical.from_codes(np.zeros(count * steps, dtype=np.int8), [run.name]),
                "patient": np.repeat(done.patients.ids[:count], steps),
                "time_h": np.tile(run.times_h, count), "quantity": name, "value": values[:count].ravel(),
                "unit": done.units.get(name, "1"),
            }))  # fmt: skip
    made = pd.concat([p.assign(arm=p["arm"].astype(str)) for p in parts], ignore_index=True)
    return made.astype({"arm": "category", "quantity": "category", "unit": "category"})


def sentences(done: Simulation) -> tuple[str, ...]:
    """What came of it, in words."""
    scenario = done.scenario
    about = scenario.patients
    who = f"{fmt.plural(len(done.patients), 'virtual patient')}, {about.product} in {about.disease}"
    found = [f"SYNTHETIC: {who}, {scenario.simulation.days:g} days, {fmt.plural(len(done.runs), 'arm')}."]
    odd = setup.hypothetical_arms(scenario)
    if len(done.patients) == 1:
        for row in done.outcomes.itertuples():
            arm = words.arm_label(str(row.arm), odd)
            found.append(f"{arm}: worst ICANS grade {row.icans_grade}, worst CRS grade {row.crs_grade}.")
    else:
        for arm in done.arms:
            one = done.incidence[done.incidence["arm"] == arm].set_index("label")
            told = [f"{label} {fmt.percent(one.loc[label, 'value'])}" for _, _, label in results.OUTCOMES]
            found.append(f"{words.arm_label(arm, odd)}: {', '.join(told)}.")
    strange = [therapies()[d].label for d in setup.used_drugs(scenario) if therapies()[d].hypothetical]
    if strange:
        found.append(f"HYPOTHETICAL: {fmt.joined(strange)}; no human data in this use.")
    failed = int((~results.kept(done.runs)).sum())
    if failed:
        found.append(
            f"{fmt.plural(failed, 'patient')} could not be integrated and {'is' if failed == 1 else 'are'} left out."
        )
    return tuple(found)


def page_data(done: Simulation, run: RunInfo) -> SimulationData:
    """What the page shows."""
    scenario = done.scenario
    plan = setup.plan_table(scenario)
    about = [therapies()[d] for d in setup.used_drugs(scenario)]
    drugs = pd.DataFrame(
        [(d.name, d.label, d.target, d.hypothetical, "; ".join(d.sources)) for d in about],
        columns=["drug", "label", "target", "hypothetical", "sources"],
    )  # fmt: skip
    courses, grades, doses = _shown(done)
    schemes = {"ICANS": SCHEMES[scenario.simulation.icans_scheme], "CRS": SCHEMES[scenario.simulation.crs_scheme]}
    return SimulationData(
        study=scenario.simulation.name, question=scenario.simulation.question, product=scenario.patients.product,
        disease=scenario.patients.disease, patients=len(done.patients), days=scenario.simulation.days, arms=done.arms,
        units=done.units, bands=done.bands, regional=done.regional, heads=done.heads, drugs=drugs, regimens=plan,
        incidence=done.incidence, differences=done.differences, worst=done.worst,
        regional_who=done.regional_who, hypothetical_arms=setup.hypothetical_arms(scenario),
        as_needed=results.as_needed(done.runs), timing=results.timing(done.outcomes),
        model=setup.scenario_model(scenario),
        summary=results.peaks(done.outcomes, done.units), courses=courses, grades=grades, doses=doses, schemes=schemes,
        notes=sentences(done)[1:], failures=done.failures if len(done.failures) else None, run=run,
    )  # fmt: skip


def _shown(done: Simulation) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame], dict[str, pd.DataFrame]]:
    """Courses, grades and doses of the patients shown, in every arm."""
    courses, grades, doses = {}, {}, {}
    strange = setup.hypothetical_arms(done.scenario)
    place = {int(number): at for at, number in enumerate(done.patients.ids)}
    for patient in results.examples(done.outcomes, done.arms[0], done.scenario.output.shown):
        for arm, run in zip(done.scenario.arms, done.runs):
            label = words.arm_label(run.name, strange)
            name = f"Patient {patient}" if len(done.runs) == 1 else f"Patient {patient}, {label}"
            at = place[patient]
            courses[name] = pd.concat(
                [pd.DataFrame({"quantity": q, "time_h": run.times_h, "value": run.series[q][at]}) for q in words.PANEL
                 if q in run.series], ignore_index=True,
            )  # fmt: skip
            grades[name] = results.daily(run, done.scenario, at)
            mine = setup.arm_doses(arm, done.patients)[at]
            planned = pd.DataFrame(
                [(t, d.duration_h, d.drug) for d in mine for t in d.times() if t <= run.times_h[-1]],
                columns=["time_h", "duration_h", "drug"],
            )  # fmt: skip
            needed = run.given.loc[run.given["patient"] == patient, planned.columns]
            doses[name] = pd.concat([planned, needed.astype(planned.dtypes)], ignore_index=True)
    return courses, grades, doses


def as_toml(scenario: Scenario) -> str:
    """The scenario as a file that :func:`icans.study.simulate_config.read_scenario` reads."""
    lines: list[str] = []

    def table(head: str, values: Mapping[str, Any]) -> None:
        lines.append(head)
        later: list[tuple[str, Any]] = []
        for key, value in values.items():
            if value is None or value in ((), {}, []):
                continue
            if isinstance(value, list) and value and isinstance(value[0], dict):
                later += [(key, v) for v in value]
            else:
                lines.append(f"{key} = {_value(value)}")
        lines.append("")
        for key, value in later:
            table(f"[[{head.strip('[]')}.{key}]]", value)

    content = scenario.model_dump(mode="json")
    for section in ("simulation", "patients"):
        table(f"[{section}]", content[section])
    for arm in content["arms"]:
        table("[[arms]]", arm)
    table("[output]", content["output"])
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False)
