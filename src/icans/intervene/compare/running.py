"""Strategies on a population: chunks of patients through every strategy, wherever the executor runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from icans.core.errors import ModelError, Problem
from icans.core.execute import Executor, Serial
from icans.intervene.compare.arm import run_course
from icans.intervene.compare.forecasting import LandmarkForecasts
from icans.intervene.compare.results import StrategyResults, join, outcome_table
from icans.intervene.compare.watch import Ward
from icans.intervene.strategy.checks import check_strategy
from icans.intervene.strategy.strategy import Strategy, drugs_of
from icans.intervene.world import outcomes as vector
from icans.intervene.world.cast import Cast, cast
from icans.population import artefact

#: Patients of a chunk. It does not change a bit of the results.
CHUNK = 250


@dataclass(frozen=True)
class Group:
    """Virtual patients ``first`` to ``first + n - 1`` of a product in a disease.

    ``change``: covariates that are other than drawn, as in :class:`icans.population.arms.Key`.
    ``scaled``: parameters of the model and the factors on them, for analyses of sensitivity.
    """

    product: str = "axi-cel"
    disease: str = "LBCL"
    n: int = 1000
    first: int = 1
    change: tuple[tuple[str, str, float], ...] = ()
    scaled: tuple[tuple[str, float], ...] = ()

    def draw(self, seed: int, drugs: Sequence[str]) -> Cast:
        """The patients, with parameters for these drugs."""
        made = cast(self.n, self.product, self.disease, seed, drugs=drugs, first=self.first, change=self.change)
        table = made.covariates.assign(product=self.product, disease=self.disease)
        parameters = made.parameters.copy()
        for name, factor in self.scaled:
            if name in parameters:
                parameters[name] = scaled_within(name, parameters[name], factor)
        return Cast(parameters, table, made.doses, made.numbers)


def scaled_within(name: str, values: Any, factor: float) -> Any:
    """Values of a parameter times a factor, within its bounds."""
    from icans.mechanism.parameters import read_parameters

    row = read_parameters()[name]
    return (values * factor).clip(row.lower, row.upper)


@dataclass(frozen=True)
class Task:
    """A chunk of patients for all strategies."""

    group: Group
    strategies: tuple[Strategy, ...]
    seed: int
    ward: Ward = field(default_factory=Ward)
    forecasts: LandmarkForecasts | None = None


def run_strategies(
    groups: Group | Sequence[Group], strategies: Mapping[str, Strategy] | Sequence[Strategy], seed: int = 1, *,
    executor: Executor | None = None, ward: Ward | None = None, forecasts: LandmarkForecasts | None = None,
    chunk: int = CHUNK,
) -> StrategyResults:  # fmt: skip
    """Outcomes of the same patients under every strategy (common random numbers).

    Parameters
    ----------
    executor
        Where chunks run; here, one after the other, if None.
    groups, strategies, seed, ward, forecasts, chunk
        See :func:`tasks_for`.

    Raises
    ------
    ModelError
        See :func:`tasks_for`.
    """
    tasks = tasks_for(groups, strategies, seed, ward=ward, forecasts=forecasts, chunk=chunk)
    tables = (executor or Serial()).map(run_task, tasks, "strategies")
    return join(tables, {s.name: s for s in tasks[0].strategies}, seed)


def tasks_for(
    groups: Group | Sequence[Group], strategies: Mapping[str, Strategy] | Sequence[Strategy], seed: int = 1, *,
    ward: Ward | None = None, forecasts: LandmarkForecasts | None = None, chunk: int = CHUNK,
) -> list[Task]:  # fmt: skip
    """The chunks of a comparison, each for :func:`run_task`; :func:`join` puts their tables together.

    They are the items of an array job (:mod:`icans.core.shards`), too.

    Parameters
    ----------
    groups
        Products, diseases and numbers of patients.
    ward
        The laboratory; by default that of ``assays.toml`` with the seed of the patients.
    forecasts
        For rules on forecasts; fitted to other patients of the same groups if None and a rule asks for one.
    chunk
        Patients of a chunk.

    Raises
    ------
    ModelError
        Strategies that cannot work or are not for a product; two of one name; unknown products and diseases.
    """
    listed = tuple(strategies.values() if isinstance(strategies, Mapping) else strategies)
    several = (groups,) if isinstance(groups, Group) else tuple(groups)
    _check(listed, several)
    lab = ward or Ward(seed=seed)
    if forecasts is None and any(s.forecasts for s in listed):
        forecasts = LandmarkForecasts.for_groups(several, listed, seed, lab)
    return [Task(part, listed, seed, lab, forecasts) for group in several for part in parts_of(group, chunk)]


def parts_of(group: Group, chunk: int = CHUNK) -> list[Group]:
    """The group in chunks."""
    from dataclasses import replace

    last = group.first + group.n
    return [replace(group, first=k, n=min(chunk, last - k)) for k in range(group.first, last, chunk)]


def run_task(task: Task) -> pd.DataFrame:
    """Outcomes of a chunk under every strategy, one table."""
    readings = artefact.read().readings
    patients = task.group.draw(task.seed, drugs_of(task.strategies))
    made = []
    for strategy in task.strategies:
        forecaster, analytes = _forecaster(task, strategy)
        course = run_course(strategy, patients, readings, outputs_of(strategy), ward=task.ward, forecaster=forecaster,
                            analytes=analytes)  # fmt: skip
        made.append(outcome_table(course, patients, readings, task.seed))
    return pd.concat(made, ignore_index=True)


def outputs_of(strategy: Strategy) -> tuple[str, ...]:
    """Outputs of the model that the outcome vector of a strategy needs (without steroids there is no such output)."""
    steroid = ("steroid",) if {"dexamethasone", "methylprednisolone"} & set(strategy.drugs) else ()
    return tuple(o for o in vector.NEEDED if o != "steroid") + steroid


def _forecaster(task: Task, strategy: Strategy) -> tuple[Callable[..., Any] | None, tuple[str, ...]]:
    if task.forecasts is None or not strategy.forecasts:
        return None, ()
    return task.forecasts.predict, task.forecasts.analytes


def _check(strategies: Sequence[Strategy], groups: Sequence[Group]) -> None:
    found: list[Problem] = []
    names = [s.name for s in strategies]
    found += [Problem("strategies", None, name, None, "each name once", "Rename one.")
              for name in sorted({n for n in names if names.count(n) > 1})]  # fmt: skip
    if not strategies:
        found.append(Problem("strategies", None, None, "none", "at least one strategy", "Name one."))
    products = tuple(dict.fromkeys(g.product for g in groups))
    for strategy in strategies:
        try:
            check_strategy(strategy, products)
        except ModelError as error:
            found += [p for p in error.problems if p not in found]
    if found:
        raise ModelError(found)
