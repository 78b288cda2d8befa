"""A score of whole points learned from findings and grades, with the order that physiology gives held.

In the manner of VE-ICANS (Jones et al. 2022, Sci Rep 12:20011, doi:10.1038/s41598-022-24010-1): every finding has a
whole number of points, slower rhythms never fewer than faster ones, deeper suppression never fewer than shallower.
The weights are least squares under these orders, brought to whole numbers and improved point by point.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from icans.core.errors import NotEstimableError

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Order:
    """What is known of the weights before any data.

    ``chains``: findings from the mildest to the gravest, whose points never fall along the chain. ``good``: findings
    that may only take points away; every other may only give them. The first of a chain may do either when it is in
    ``free``.
    """

    chains: tuple[tuple[str, ...], ...]
    good: frozenset[str] = frozenset()
    free: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Points:
    """A score: whole points by finding, and the log odds of reaching each grade.

    ``cuts`` are grades; P(grade >= cut) = expit(slope * score - level), one level a cut (proportional odds).
    """

    weights: dict[str, int]
    cuts: tuple[float, ...]
    levels: tuple[float, ...]
    slope: float
    source: str = ""

    def score(self, findings: Mapping[str, float | bool | None]) -> float:
        """Points of the findings that are there; KeyError for a finding that is not named (None counts as absent)."""
        missing = [name for name in self.weights if name not in findings]
        if missing:
            raise KeyError(f"the score needs the findings {missing}; give None for those that nobody looked for")
        return float(sum(weight for name, weight in self.weights.items() if findings[name]))

    def scores(self, table: Array, names: Sequence[str]) -> Array:
        """Points of a table of 0/1, shape (rows, findings)."""
        return np.asarray(table @ np.array([self.weights[name] for name in names], dtype=float))

    def probability(self, score: npt.ArrayLike) -> Array:
        """P(grade >= cut), shape (scores, cuts)."""
        from scipy.special import expit

        line = self.slope * np.atleast_1d(np.asarray(score, dtype=float))[:, None] - np.array(self.levels)
        return np.asarray(expit(line))

    def write(self, path: Path) -> None:
        """Write the score as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def read_points(path: Path) -> Points:
    """A score as :meth:`Points.write` left it."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    return Points(
        {str(k): int(v) for k, v in raw["weights"].items()}, tuple(raw["cuts"]), tuple(raw["levels"]),
        float(raw["slope"]), str(raw["source"]),
    )  # fmt: skip


def fit_points(
    table: Array, names: Sequence[str], grade: Array, order: Order, *, most: int = 6, ridge: float = 10.0,
    cuts: Sequence[float] = (1.0, 2.0, 3.0, 4.0), source: str = "",
) -> Points:  # fmt: skip
    """Learn whole points.

    Parameters
    ----------
    table
        Findings, shape (rows, findings), 0/1.
    names
        One a column.
    grade
        Shape (rows,), half steps allowed.
    order
        Signs and orders that hold whatever the data say.
    most
        Points of the weightiest finding.
    ridge
        Strength of the pull towards no points, in rows.

    Raises
    ------
    NotEstimableError
        All grades are the same.
    """
    if np.ptp(grade) == 0:
        raise NotEstimableError("every row has the same grade: no score can be learned")
    basis = order_basis(names, order)
    weights = basis @ _least_squares(table @ basis, grade, ridge)
    largest = np.abs(weights).max()
    if largest == 0:
        raise NotEstimableError("no finding goes with the grade in the direction that was laid down")
    whole = np.rint(weights * most / largest)
    whole = _improve(whole, table, grade, names, order, most)
    score = table @ whole
    levels, slope, used = proportional_odds(score, grade, cuts)
    return Points(dict(zip(names, (int(w) for w in whole), strict=True)), used, levels, slope, source)


def order_basis(names: Sequence[str], order: Order) -> Array:
    """Matrix B with weights = B @ x for x >= 0: chains as sums of steps, signs as given.

    Shape (findings, columns). A free start of a chain has two columns, up and down, for the whole chain.
    """
    place = {name: i for i, name in enumerate(names)}
    columns = []
    chained: set[str] = set()
    for chain in order.chains:
        present = [name for name in chain if name in place]
        chained.update(present)
        for step, name in enumerate(present):
            column = np.zeros(len(names))
            column[[place[n] for n in present[step:]]] = 1.0
            columns.append(column)
            if step == 0 and name in order.free:
                columns.append(-column)
    for name in names:
        if name not in chained:
            column = np.zeros(len(names))
            column[place[name]] = -1.0 if name in order.good else 1.0
            columns.append(column)
    return np.stack(columns, axis=1)


def holds(weights: Array, names: Sequence[str], order: Order) -> bool:
    """Whether weights respect signs and orders."""
    place = {name: i for i, name in enumerate(names)}
    for chain in order.chains:
        along = [weights[place[name]] for name in chain if name in place]
        if any(b < a for a, b in pairwise(along)):
            return False
        if along and chain[0] not in order.free and along[0] < 0:
            return False
    chained = {name for chain in order.chains for name in chain}
    rest = [(name, weights[place[name]]) for name in names if name not in chained]
    return all(w <= 0 if name in order.good else w >= 0 for name, w in rest)


def _least_squares(table: Array, grade: Array, ridge: float) -> Array:
    """Non-negative ridge regression on centred columns."""
    from scipy.optimize import nnls

    centred = table - table.mean(axis=0)
    padded = np.vstack([centred, np.sqrt(ridge) * np.eye(table.shape[1])])
    target = np.concatenate([grade - grade.mean(), np.zeros(table.shape[1])])
    return np.asarray(nnls(padded, target, maxiter=50 * table.shape[1])[0])


def _improve(whole: Array, table: Array, grade: Array, names: Sequence[str], order: Order, most: int) -> Array:
    """Change single points while the correlation with the grade rises by at least 0.002 and the orders hold."""
    best, current = _correlation(table @ whole, grade), whole.copy()
    for _ in range(20):
        moves = []
        for i in range(len(names)):
            for change in (-1.0, 1.0):
                trial = current.copy()
                trial[i] += change
                if np.abs(trial).max() <= most and holds(trial, names, order):
                    moves.append((_correlation(table @ trial, grade), i, change))
        if not moves or max(moves)[0] < best + 0.002:
            break
        best, i, change = max(moves)
        current[i] += change
    return current


def _correlation(score: Array, grade: Array) -> float:
    return float(np.corrcoef(score, grade)[0, 1]) if np.ptp(score) > 0 else 0.0


def proportional_odds(
    score: Array, grade: Array, cuts: Sequence[float]
) -> tuple[tuple[float, ...], float, tuple[float, ...]]:
    """Levels, slope and the cuts that the grades reach, by maximum likelihood (McCullagh 1980).

    A grade between two cuts (a half step) counts as the cut below it. A weak pull (0.01 of a squared unit) keeps the
    slope finite where cuts are parted perfectly.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    used = tuple(float(c) for c in cuts if 0 < (grade >= c).sum() < len(grade))
    if not used:
        raise NotEstimableError("no cut parts the grades")
    category = np.searchsorted(np.array(used), grade, side="right")
    scale = max(float(np.std(score)), 1e-9)
    x = score / scale

    def loss(raw: Array) -> float:
        levels = np.cumsum(np.concatenate([raw[1:2], np.exp(raw[2:])]))
        upper = np.concatenate([np.ones((len(x), 1)), expit(raw[0] * x[:, None] - levels), np.zeros((len(x), 1))], 1)
        rows = np.arange(len(x))
        chance = upper[rows, category] - upper[rows, category + 1]
        return float(-np.log(np.maximum(chance, 1e-12)).sum() + 0.01 * raw[0] ** 2)

    start = np.concatenate([[1.0], [-np.log(1 / np.mean(grade >= used[0]) - 1 + 1e-9) * -1.0], np.zeros(len(used) - 1)])
    found = minimize(loss, start, method="BFGS")
    levels = np.cumsum(np.concatenate([found.x[1:2], np.exp(found.x[2:])]))
    return tuple(float(v) for v in levels), float(found.x[0] / scale), used


#: VE-ICANS' findings by the names of its published table, from mild to grave.
VE_ICANS_ORDER = Order(
    chains=(
        ("alpha >=10Hz", "alpha 8<=9Hz", "alpha <=8Hz", "theta 6<=8Hz", "theta 5<=6Hz", "theta 4<=5Hz",
         "delta 3<=4Hz", "delta 2<=3Hz", "delta 1<=2Hz", "delta <=1Hz"),
        ("mlv", "elv"),
        ("Intermittent brief attenuation", "Burst suppression"),
    ),
    good=frozenset({"pdr present"}),
    free=frozenset({"alpha >=10Hz"}),
)  # fmt: skip
