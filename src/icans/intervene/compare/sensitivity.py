"""How much a comparison hangs on what is assumed: each parameter of the therapies moved down and up, one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from icans.core.execute import Executor
from icans.intervene.compare.arm import run_course
from icans.intervene.compare.results import StrategyResults, join, outcome_table
from icans.intervene.compare.running import Group, outputs_of, run_strategies
from icans.intervene.compare.summary import BY_NAME, paired
from icans.intervene.strategy.strategy import Strategy
from icans.intervene.world import outcomes as vector
from icans.mechanism.parameters import read_parameters
from icans.mechanism.patient import WHOLE, patient_model
from icans.population import artefact

#: Marks of parameters that rest on no measurement in this use.
ASSUMED = ("assumed", "calibrated")
COLUMNS = ["parameter", "status", "meaning", "side", "factor", "measure", "difference", "low", "high"]


@dataclass(frozen=True)
class Moved:
    """A parameter and its factors down and up."""

    name: str
    status: str
    meaning: str
    down: float
    up: float


def assumed_parameters(drugs: Sequence[str], *, factor: float = 2.0, statuses: Sequence[str] = ASSUMED) -> list[Moved]:
    """Parameters that the therapies bring with them and that are assumed or calibrated, in order of the files.

    Moved by ``factor`` both ways, within their bounds.
    """
    with_, without = (patient_model(d, regions=WHOLE).parameters.names for d in (tuple(drugs), ()))
    own = set(with_) - set(without)
    made = []
    for row in read_parameters().rows:
        if row.name in own and row.status in statuses and row.value > 0:
            down, up = max(row.lower / row.value, 1.0 / factor), min(row.upper / row.value, factor)
            made.append(Moved(row.name, row.status, row.meaning, down, up))
    return made


def tornado(
    group: Group, strategy: Strategy, reference: Strategy, seed: int, *,
    measures: Sequence[str] = ("icans_3", "response"), factor: float = 2.0,
    statuses: Sequence[str] = ASSUMED, executor: Executor | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Differences from the reference per 1,000 patients with each parameter down and up, both arms alike.

    Returns
    -------
    Columns parameter, status, meaning, side (``as is``, ``down``, ``up``), factor, measure, difference, low, high
    (95 %, paired); ``parameter`` is empty where nothing was moved.
    """
    drugs = tuple(sorted({*strategy.drugs, *reference.drugs}))
    rows = _rows(group, strategy, reference, seed, measures, executor, ("", "", "", "as is", 1.0))
    for one in assumed_parameters(drugs, factor=factor, statuses=statuses):
        for side, by in (("down", one.down), ("up", one.up)):
            moved = replace(group, scaled=((one.name, by),))
            rows += _rows(moved, strategy, reference, seed, measures, executor,
                          (one.name, one.status, one.meaning, side, by))  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows(
    group: Group, strategy: Strategy, reference: Strategy, seed: int, measures: Sequence[str],
    executor: Executor | None, head: tuple[str, str, str, str, float],
) -> list[tuple[object, ...]]:  # fmt: skip
    found = run_strategies(group, [reference, strategy], seed, executor=executor)
    return _told(found, strategy, reference, measures, head)


def _told(
    found: StrategyResults, strategy: Strategy, reference: Strategy, measures: Sequence[str],
    head: tuple[str, str, str, str, float],
) -> list[tuple[object, ...]]:  # fmt: skip
    made: list[tuple[object, ...]] = []
    for name in measures:
        made.append((*head, name, *paired(BY_NAME[name], found.of(strategy.name), found.of(reference.name))))
    return made


def outcome_sensitivity(
    group: Group, strategy: Strategy, reference: Strategy, seed: int, *,
    measures: Sequence[str] = ("death", "response", "infection_days", "icu_days"), factor: float = 2.0,
) -> pd.DataFrame:  # fmt: skip
    """The same for what turns a course into outcomes: every assumption of ``world/outcomes.toml`` that is not read.

    The courses are simulated once; infections, deaths and responses are computed from them again. Columns as those of
    :func:`tornado`.
    """
    listed, readings = (reference, strategy), artefact.read().readings
    patients = group.draw(seed, tuple(sorted({*strategy.drugs, *reference.drugs})))
    courses = [run_course(s, patients, readings, outputs_of(s)) for s in listed]

    def rows(head: tuple[str, str, str, str, float]) -> list[tuple[object, ...]]:
        tables = [outcome_table(c, patients, readings, seed) for c in courses]
        found = join([*tables], {s.name: s for s in listed}, seed)
        return _told(found, strategy, reference, measures, head)

    made = rows(("", "", "", "as is", 1.0))
    for name, entry in vector.table()["parameter"].items():
        if entry["status"] not in ASSUMED:
            continue
        for side, by in (("down", 1.0 / factor), ("up", factor)):
            value = float(entry["value"]) * by
            with vector.assuming(**{name: min(value, 1.0) if name.startswith("death_") else value}):
                made += rows((name, entry["status"], entry["source"].split(";")[0], side, by))
    return pd.DataFrame(made, columns=COLUMNS)
