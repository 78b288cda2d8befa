"""Where cells come from: places given at the start, division, entry from blood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.core.random import stream
from icans.tissue.agents.cells import COLUMNS
from icans.tissue.agents.names import nearest
from icans.tissue.agents.phenotype import DIVIDES, halve
from icans.tissue.agents.philox import PLACE, TRAIT, uniforms

if TYPE_CHECKING:
    from icans.tissue.agents.model import Tissue

Array = npt.NDArray[Any]


def body(tissue: Tissue, kind: npt.NDArray[np.int64]) -> dict[str, Array]:
    """Kind, volumes and radius of new-born, grown cells; ``kind`` has shape (m,)."""
    v = tissue.table.volume[kind]
    fluid, solid = v[:, 2] * v[:, 0], 1.0 - v[:, 2]
    return {
        "kind": kind,
        "fluid": fluid,
        "nuclear": solid * v[:, 1],
        "cytoplasm": solid * (v[:, 0] - v[:, 1]),
        "radius": np.cbrt(0.75 / np.pi * v[:, 0]),
    }


def place_free(tissue: Tissue, kind: str, places: Array, columns: dict[str, Any]) -> slice:
    """Put cells at given places; see :meth:`icans.tissue.agents.model.Tissue.add`."""
    problems = []
    if kind not in tissue.names.kinds:
        known = {name: 0 for name in tissue.names.kinds}
        problems.append(Problem("cells", None, "kind", kind, "a kind of cell of this model", nearest(kind, known)))
    if places.ndim != 2 or places.shape[1] not in (2, 3):
        problems.append(Problem("cells", None, "places", str(places.shape), "shape (m, 2) or (m, 3)", "Correct it."))
        raise ModelError(problems)
    x = np.zeros((3, len(places)))
    x[: places.shape[1]] = places.T
    if tissue.flat:
        x[2] = 0.0
    outside = ~inside(tissue, x)
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        expected = f"places within {tissue.size.tolist()} um and in the mask"
        found = f"{int(outside.sum())} outside, the first {places[first].tolist()}"
        problems.append(Problem("cells", first + 1, "places", found, expected, "Move or leave out these cells."))
    if problems:
        raise ModelError(problems)
    which = np.full(len(places), tissue.names.kinds.index(kind))
    values = {**body(tissue, which), "x": x}
    mean, sd, least, most = tissue.table.trait[which[0]] if len(which) else (1.0, 0.0, 0.0, np.inf)
    draws = stream(tissue.seed, "trait", tissue.cells.next_identity).normal(mean, sd, len(places))
    values["trait"] = np.clip(draws, least, most)
    spread = max(tissue.table.clock[which[0]], 0.0) if len(which) else 0.0
    draws = stream(tissue.seed, "pace", tissue.cells.next_identity).normal(1.0, spread, len(places))
    values["pace"] = np.maximum(draws, 0.0)
    return _admit(tissue, {**values, **columns}, tissue.table.base[which].T)


def inside(tissue: Tissue, x: Array) -> npt.NDArray[np.bool_]:
    """Which places, shape (3, m), lie in the tissue."""
    good = (np.isfinite(x) & (x >= 0) & (x <= tissue.size[:, None])).all(axis=0)
    if tissue.mask.size:
        index = np.clip((np.nan_to_num(x) / tissue.h).astype(np.int64), 0, tissue.shape[:, None] - 1)
        good &= tissue.mask[index[2], index[1], index[0]]
    return np.asarray(good)


def divide(tissue: Tissue, event: npt.NDArray[np.int64]) -> None:
    """Split those who divide: each daughter takes half, kind, trait and state of its mother."""
    count = int((event == DIVIDES).sum())
    if count == 0:
        return
    cells = tissue.cells
    mothers, place = np.zeros(count, np.int64), np.zeros((3, count))
    c = cells.data
    halve(
        event.size, event, tissue.seed, tissue.step_count, c["identity"], tissue.flat, c["x"], c["radius"], c["fluid"],
        c["nuclear"], c["cytoplasm"], c["partner"], mothers, place,
    )  # fmt: skip
    x = c["x"][:, mothers]
    middle = 0.5 * (x + place)
    x, place = (_in_tissue(tissue, middle, side) for side in (x, place))
    c["x"][:, mothers] = x
    values: dict[str, Any] = {name: c[name][..., mothers] for name in COLUMNS}
    values.update(x=place, partner=-1, held=0, age=0.0, velocity=0.0, heading=0.0)
    c["age"][mothers] = 0.0
    spread = np.maximum(tissue.table.clock[values["kind"]], 0.0)
    if spread.any():
        values["pace"] = np.maximum(1.0 + spread * _normal(tissue, c["identity"][mothers]), 0.0)
    _admit(tissue, values, cells.behaviour[:, mothers])


def _in_tissue(tissue: Tissue, middle: Array, place: Array) -> Array:
    """The places of daughters, shape (3, m), drawn back toward where their mother lay if they are outside."""
    wanted, place = place, np.clip(place, 0.0, tissue.size[:, None])
    for share in (0.1, 0.01, 0.0):
        nearer = np.clip(middle + share * (wanted - middle), 0.0, tissue.size[:, None])
        place = np.where(inside(tissue, place), place, nearer)
    return place


def _admit(tissue: Tissue, values: dict[str, Any], behaviour: Array) -> slice:
    """Add cells with what they do until they first sense; nothing of who had their slots before is left."""
    new = tissue.cells.add(values, behaviour.shape[1])
    tissue.cells.behaviour[:, new] = behaviour
    for held in (tissue._made, tissue._lost, tissue._surface):
        held[:, new] = 0.0  # beyond the work space there is nothing to clear
    return new


def _normal(tissue: Tissue, identities: Array) -> npt.NDArray[np.float64]:
    """One normal number for each cell named, for the trait or the pace of who is born by it at this step."""
    u = np.array([uniforms(tissue.seed, int(i), tissue.step_count, TRAIT) for i in identities]).T
    return np.asarray(np.sqrt(-2 * np.log(u[0])) * np.cos(2 * np.pi * u[1]))


def enter(tissue: Tissue, enters: npt.NDArray[np.int64]) -> None:
    """Let cells in beside the vessels that let someone in; those with no room in the tissue are counted as lost."""
    vessels = np.flatnonzero(enters >= 0)
    if vessels.size == 0:
        return
    c = tissue.cells.data
    kind = enters[vessels]
    values: dict[str, Any] = dict(body(tissue, kind))
    u = np.array([uniforms(tissue.seed, int(i), tissue.step_count, PLACE) for i in c["identity"][vessels]]).T
    z = np.zeros(u.shape[1]) if tissue.flat else 2 * u[1] - 1
    side, angle = np.sqrt(np.maximum(1 - z**2, 0)), 2 * np.pi * u[0]
    away = c["radius"][vessels] + values["radius"]
    x = c["x"][:, vessels] + away * np.stack([side * np.cos(angle), side * np.sin(angle), z])
    x = np.clip(x, 0.0, tissue.size[:, None])
    values["x"] = x
    mean, sd, least, most = tissue.table.trait[kind].T
    values["trait"] = np.clip(mean + sd * _normal(tissue, c["identity"][vessels]), least, most)
    fits = inside(tissue, x)
    tissue.lost += int((~fits).sum())
    _admit(tissue, {name: v[..., fits] for name, v in values.items()}, tissue.table.base[kind[fits]].T)
