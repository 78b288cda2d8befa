"""Simulations: a scenario in, a results folder with a page out. Everything in it is synthetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import ModelError, NotEstimableError, Problem
from icans.core.execute import Executor, opened
from icans.core.files import atomic_folder, slug
from icans.core.progress import stage
from icans.core.provenance import now, versions
from icans.report import format as fmt
from icans.report import quantities as words
from icans.report.model import RunInfo
from icans.report.simulation import write_simulation
from icans.study import simulate_results as results
from icans.study import simulate_setup as setup
from icans.study.folder import MARK, check_target, write_mark, write_tables
from icans.study.simulate_arm import check_memory, run_arm
from icans.study.simulate_config import ArmSection, Scenario
from icans.study.simulate_heads import heads_table
from icans.study.simulate_page import as_toml, page_data, sentences, tables

if TYPE_CHECKING:
    from icans.mechanism.model import PatientModel
    from icans.population.quantities import Readings

#: The page of a results folder.
PAGE = "simulate.html"


@dataclass(frozen=True)
class Simulation:
    """A simulated scenario, before it is written.

    ``outcomes``: one row per patient and arm; ``incidence``, ``differences``: with intervals; ``bands``, ``regional``,
    ``heads``: over time. All synthetic.
    """

    scenario: Scenario
    runs: tuple[results.ArmRun, ...]
    patients: setup.Patients
    units: Mapping[str, str]
    outcomes: pd.DataFrame
    incidence: pd.DataFrame
    differences: pd.DataFrame
    worst: pd.DataFrame
    bands: pd.DataFrame
    regional: pd.DataFrame
    regional_who: str
    heads: pd.DataFrame
    failures: pd.DataFrame
    model_key: str
    seconds: Mapping[str, float]

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms, in order."""
        return tuple(run.name for run in self.runs)


@dataclass(frozen=True)
class SimulationResult:
    """Where the results lie, and what a reader should know first."""

    folder: Path
    sentences: tuple[str, ...]
    seconds: Mapping[str, float]

    @property
    def page(self) -> Path:
        """The page."""
        return self.folder / PAGE

    def as_dict(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        return {
            "ok": True,
            "synthetic": True,
            "folder": str(self.folder),
            "page": str(self.page),
            "sentences": list(self.sentences),
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }

    def text(self) -> str:
        """The result for people."""
        return "\n".join([*self.sentences, f"page: {self.page}"])


@dataclass(frozen=True)
class Prepared:
    """A scenario that has been checked, with its model and all its patients; nothing is integrated yet."""

    scenario: Scenario
    model: PatientModel
    patients: setup.Patients
    names: tuple[str, ...]
    times: npt.NDArray[np.float64]
    readings: Readings


def prepare(scenario: Scenario) -> Prepared:
    """Check a scenario and draw its patients.

    Raises
    ------
    ModelError
        Doses, parameters or names that the model does not have or allow; or the courses would not fit in memory.
    """
    model = setup.scenario_model(scenario)
    patients = setup.make_patients(scenario, model)
    names = setup.quantities_of(model, scenario.output.quantities)
    _check_names(model, scenario)
    times = np.arange(0.0, scenario.simulation.days * 24.0 + 1e-9, scenario.simulation.every_h)
    check_memory(len(patients), len(times), len(names), len(scenario.arms))
    return Prepared(scenario, model, patients, names, times, setup.calibration(scenario).readings)


def simulate_arm(
    ready: Prepared, arm: ArmSection, rows: slice = slice(None), threads: int | None = None,
    executor: Executor | None = None,
) -> results.ArmRun:  # fmt: skip
    """One arm in some of the patients: each comes out the same whoever the others are."""
    some = ready.patients.part(rows)
    doses = setup.arm_doses(arm, some)
    triggers = setup.arm_triggers(ready.scenario, arm, ready.patients)  # dosed for the median of all patients
    return run_arm(arm.name, ready.model, some, doses, triggers, ready.times, ready.names, ready.readings, threads,
                   executor)  # fmt: skip


def run_scenario(
    scenario: Scenario, *, threads: int | None = None, executor: Executor | str | None = None
) -> Simulation:
    """Simulate every arm of a scenario in the same virtual patients.

    Parameters
    ----------
    scenario
        From :func:`icans.study.simulate_config.read_scenario`.
    threads
        Threads of the engine; the result is the same to the last bit for any number.
    executor
        Where batches of patients are simulated instead (:func:`icans.core.execute.opened`), with the same result.

    Raises
    ------
    ModelError
        See :func:`prepare`.
    NotEstimableError
        No patient could be integrated.
    """
    clock = perf_counter()
    ready = prepare(scenario)
    seconds = {"setting up": perf_counter() - clock}
    runs = []
    with nullcontext() if executor is None else opened(executor) as where:
        for arm in scenario.arms:
            clock = perf_counter()
            with stage(f"simulating {fmt.plural(len(ready.patients), 'virtual patient')}: {arm.name}"):
                runs.append(simulate_arm(ready, arm, threads=threads, executor=where))
            seconds[arm.name] = perf_counter() - clock
    return summarise(ready, runs, seconds)


def summarise(ready: Prepared, runs: Sequence[results.ArmRun], seconds: Mapping[str, float]) -> Simulation:
    """What came of the arms.

    Raises
    ------
    NotEstimableError
        No patient could be integrated.
    """
    scenario, patients, model = ready.scenario, ready.patients, ready.model
    both = results.kept(runs)
    if not both.any():
        reasons = runs[0].failures["reason"].value_counts() if len(runs[0].failures) else {}
        raise NotEstimableError(f"no patient could be integrated in every arm: {dict(reasons)}")
    table = pd.concat([results.outcomes(run, scenario) for run in runs], ignore_index=True)
    table = table[table["patient"].isin(patients.ids[both])].reset_index(drop=True)
    many = len(patients) > 1
    chosen, who = results.cases(runs, table)
    arms = [run.name for run in runs]
    shown = [n for n in ready.names if n in words.BY_NAME or n in scenario.output.quantities]
    return Simulation(
        scenario=scenario, runs=tuple(runs), patients=patients, units=_units(model, ready.names), outcomes=table,
        incidence=results.incidence(table),
        differences=results.differences(table, arms, scenario.simulation.seed) if many else _no_differences(),
        worst=results.worst(table), bands=results.bands(runs, shown), regional=results.regional(runs, chosen),
        regional_who=who, heads=heads_table(runs, model, both),
        failures=results.stacked([run.failures.assign(arm=run.name) for run in runs]),
        model_key=model.key, seconds=seconds,
    )  # fmt: skip


def _no_differences() -> pd.DataFrame:
    return pd.DataFrame(columns=["arm", "label", "value", "low", "high"])


def _units(model: PatientModel, names: tuple[str, ...]) -> dict[str, str]:
    return {name: model.units.get(name, "1") for name in names}


def _check_names(model: PatientModel, scenario: Scenario) -> None:
    """Quantities of outputs and triggers must be states or definitions of the model."""
    from icans.mechanism.parameters import unknown

    have = {*model.state_names, *(d.name for d in model.definitions)}
    wanted = [*scenario.output.quantities, *(t.quantity for arm in scenario.arms for t in arm.triggers)]
    problems = [unknown("quantity of the model", name, have) for name in wanted if name not in have]
    unused = [name for name in scenario.patients.parameters if name not in model.parameters]
    problems += [
        Problem("scenario", None, f"patients.parameters.{name}", None, "a parameter that this model uses",
                "It belongs to a drug that no arm gives: remove it, or add the drug.")
        for name in unused
    ]  # fmt: skip
    if problems:
        raise ModelError(problems)


def target_folder(scenario: Scenario, output: Path | str | None) -> Path:
    """The results folder: as told, or ``results/<name of the scenario>``."""
    return Path(output) if output is not None else Path("results") / slug(scenario.simulation.name, "simulation")


def simulate_scenario(
    scenario: Scenario,
    *,
    output: Path | str | None = None,
    overwrite: bool = False,
    threads: int | None = None,
    executor: Executor | str | None = None,
    command: str = "",
) -> SimulationResult:
    """Simulate a scenario and write its results folder: run.json, tables/*.parquet, simulate.html.

    Parameters
    ----------
    output
        Results folder; by default ``results/<name of the scenario>``.
    overwrite
        Replace an earlier results folder. Other folders are never replaced.
    threads, executor
        See :func:`run_scenario`.
    command
        What a reader types to do it again.

    Raises
    ------
    FileExistsError
        The folder exists (and is not ours to replace); told before anything is simulated.
    ModelError
        See :func:`run_scenario`.
    """
    folder = target_folder(scenario, output)
    check_target(folder, overwrite)
    started = now()
    done = run_scenario(scenario, threads=threads, executor=executor)
    return write_results(done, folder, overwrite=overwrite, started=started, command=command)


def write_results(
    done: Simulation, folder: Path, *, overwrite: bool, started: str, command: str, notes: Sequence[str] = ()
) -> SimulationResult:
    """Write the results folder of a simulation. ``notes``: sentences beside those on the results."""
    clock, scenario = perf_counter(), done.scenario
    told = (*sentences(done), *notes)
    with stage("writing the results"), atomic_folder(folder, overwrite=overwrite) as temporary:
        write_tables(temporary, tables(done), True)
        info = RunInfo(
            config=as_toml(scenario), command=command or f"icans simulate {MARK}", seed=scenario.simulation.seed,
            started=started, finished=now(), versions=versions() | _engine_versions(), seconds=done.seconds,
            facts={"Model": done.model_key[:16]},
        )  # fmt: skip
        write_simulation(page_data(done, info), temporary / PAGE)
        write_mark(temporary, {
            "scenario": scenario.as_dict(), "model": done.model_key, "sentences": list(told),
        }, info, True)  # fmt: skip
    return SimulationResult(folder, told, {**done.seconds, "writing": perf_counter() - clock})


def _engine_versions() -> dict[str, str]:
    from importlib import metadata

    found = {}
    for name in ("sympy", "llvmlite", "numba"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found
