"""Which parameters can be told from data, and which only together.

Local: rank of the sensitivity matrix (structural, by its singular values), norms and collinearity of its columns (Brun,
Reichert & Kunsch 2001, Water Resour Res 37:1015, doi 10.1029/2000WR900350): a collinearity index of 10 means that a
change of one parameter can be made up for by the others to within a tenth. Practical: eigenvectors of the expected
population information. Profiles of the likelihood are in :mod:`icans.population.fit.profiles`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.population.design.information import Candidates

Array = npt.NDArray[np.float64]
#: Collinearity index from which parameters count as not separable, and relative singular value taken for 0.
COLLINEAR, SINGULAR = 10.0, 1e-8


@dataclass(frozen=True)
class Local:
    """Local identifiability from sensitivities.

    ``parameters``: a row each: ``name, importance`` (root mean square of scaled sensitivities), ``seen`` (whether
    it moves anything), ``others`` (collinearity index with all others). ``pairs``: collinearity of every pair.
    ``rank`` of ``len(parameters)``. ``blind``: directions that nothing measured moves, each a mapping of weights.
    """

    parameters: pd.DataFrame
    pairs: pd.DataFrame
    rank: int
    singular_values: Array
    blind: tuple[dict[str, float], ...]


def collinearity(columns: Array) -> float:
    """``1 / sqrt(smallest eigenvalue of the normalised S'S)`` of sensitivity columns (rows, k)."""
    size = np.linalg.norm(columns, axis=0)
    if (size == 0.0).any():
        return np.inf
    unit = columns / size
    smallest = float(np.linalg.eigvalsh(unit.T @ unit)[0])
    return np.inf if smallest < 1e-14 else 1.0 / np.sqrt(smallest)


def local_identifiability(sensitivities: Array, names: Sequence[str], scale: Array | None = None) -> Local:
    """Identifiability of parameters from sensitivities (measurements, parameters).

    ``sensitivities``: by parameters on their scales, divided by each measurement's SD. ``scale``: sizes of change that
    count (SDs between patients), by which the columns are multiplied.
    """
    s = np.asarray(sensitivities, dtype=float) * (1.0 if scale is None else scale)
    _, values, vt = np.linalg.svd(s, full_matrices=True)
    values = np.concatenate([values, np.zeros(s.shape[1] - len(values))])
    dead = values < SINGULAR * max(values[0], 1e-300)
    norm = np.sqrt((s**2).mean(axis=0))
    others = []
    for j in range(len(names)):
        seen = [k for k in range(len(names)) if norm[k] > 0.0]
        others.append(collinearity(s[:, seen]) if j in seen and len(seen) > 1 else np.nan)
    table = pd.DataFrame({"name": list(names), "importance": norm, "seen": norm > 0.0, "with_others": others})
    table["alone"] = [_alone(s, j) for j in range(len(names))]
    rows = [(names[i], names[j], collinearity(s[:, [i, j]])) for i, j in combinations(range(len(names)), 2)]
    pairs = pd.DataFrame(rows, columns=["first", "second", "index"]).sort_values("index", ascending=False)
    blind = tuple(
        {names[k]: float(v[k]) for k in np.argsort(-np.abs(v)) if abs(v[k]) > 0.1} for v in vt[dead]
    )  # fmt: skip
    return Local(table, pairs.reset_index(drop=True), int((~dead).sum()), values, blind)


def _alone(s: Array, j: int) -> float:
    """Part of a column that no combination of the others gives, 0 to 1."""
    size = np.linalg.norm(s[:, j])
    if size == 0.0:
        return 0.0
    rest = np.delete(s, j, axis=1)
    left = s[:, j] - rest @ np.linalg.lstsq(rest, s[:, j], rcond=None)[0] if rest.shape[1] else s[:, j]
    return float(np.linalg.norm(left) / size)


def individual_identifiability(candidates: Candidates) -> Local:
    """Which random effects of one subject his measurements tell, in SDs between patients."""
    s = candidates.slope / np.sqrt(candidates.residual_variance(candidates.population))[:, None]
    order = [*candidates.model.varying, *candidates.model.occasional]
    names = [candidates.model.parameters[i].name for i in order]
    return local_identifiability(s, names, np.sqrt(np.diag(candidates.prior)))


def separable_sets(sensitivities: Array, names: Sequence[str], size: int, limit: float = COLLINEAR) -> pd.DataFrame:
    """Sets of ``size`` parameters with a collinearity index below ``limit``: ``parameters, index``, best first."""
    rows = []
    for chosen in combinations(range(len(names)), size):
        index = collinearity(sensitivities[:, list(chosen)])
        if index < limit:
            rows.append((", ".join(names[i] for i in chosen), index))
    return pd.DataFrame(rows, columns=["parameters", "index"]).sort_values("index", ignore_index=True)


def practical_identifiability(information: Array, names: Sequence[str]) -> pd.DataFrame:
    """Directions of the estimates from best to worst known: ``se`` along the direction, and what it is made of."""
    value, vector = np.linalg.eigh(information)
    rows = []
    for j in range(len(value))[::-1]:
        v = vector[:, j]
        made = " ".join(f"{v[k]:+.2f} {names[k]}" for k in np.argsort(-np.abs(v))[:4] if abs(v[k]) > 0.1)
        rows.append((np.inf if value[j] <= 0 else 1.0 / np.sqrt(value[j]), made))
    return pd.DataFrame(rows, columns=["se", "direction"])
