"""How much a comparison hangs on what is assumed: each parameter of the therapies moved down and up, one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from icans.core.execute import Executor
from icans.intervene.compare.running import Group, run_strategies
from icans.intervene.compare.summary import BY_NAME, PER, Z95
from icans.intervene.strategy.strategy import Strategy
from icans.mechanism.parameters import read_parameters
from icans.mechanism.patient import WHOLE, patient_model

#: Marks of parameters that rest on no measurement in this use.
ASSUMED = ("assumed", "calibrated")


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
    columns = ["parameter", "status", "meaning", "side", "factor", "measure", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def _rows(
    group: Group, strategy: Strategy, reference: Strategy, seed: int, measures: Sequence[str],
    executor: Executor | None, head: tuple[str, str, str, str, float],
) -> list[tuple[object, ...]]:  # fmt: skip
    found = run_strategies(group, [reference, strategy], seed, executor=executor)
    made: list[tuple[object, ...]] = []
    for name in measures:
        value = BY_NAME[name].value
        d = PER * (value(found.of(strategy.name)).to_numpy() - value(found.of(reference.name)).to_numpy())
        half = Z95 * float(d.std(ddof=1)) / np.sqrt(len(d))
        made.append((*head, name, float(d.mean()), float(d.mean()) - half, float(d.mean()) + half))
    return made
