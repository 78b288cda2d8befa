"""A square of one region as a tissue: who is there, what they do, which rules they follow.

Levels are those above health, so that rest is a steady state: nothing is made until something comes from blood.
Microglia are primed by what comes from outside the brain (IL-6 from blood, followed apart as IL6B; interferon gamma;
leaked protein) and activated from there, faster by what glia make: as in the patient model, glia do not start alone.
Nothing here is faster than an hour or so, hence steps of 6 (walk) and 12 min (all else; the field stays stable).
Rates come per hour from ``parameters.toml`` and go per minute to the agents. Where a cell's uptake or release has no
number of its own, all cells of a kind together give the calibrated production of the patient model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from icans.core.errors import ModelError
from icans.core.random import stream
from icans.tissue.agents.kinds import Kind, Volumes
from icans.tissue.agents.model import Steps, Tissue
from icans.tissue.agents.rules import Rule
from icans.tissue.field.field import Field
from icans.tissue.field.grid import Array, Grid, Medium, Substance, perivascular_flow, problem
from icans.tissue.parameters import Numbers, Region, SubstanceData, numbers, values

VESSEL, MICROGLIA, PRIMED, ACTIVE, ASTROCYTE, REACTIVE, NEURON, T_CELL = (
    "vessel", "microglia", "primed microglia", "active microglia", "astrocyte", "reactive astrocyte", "neuron", "CAR T",
)  # fmt: skip

#: Permeability-surface product of albumin of the intact barrier over the brain's fluid, 1/h: 0.021 mL/h over 261 mL
#: (cns_ps_bbb and cns_v_isf of the patient model), at the density of capillaries to which it is referred, per mm2.
ALBUMIN_PER_H, REFERENCE_MM2 = 0.021 / 261, 250.0
#: Power of the radius in permeability, and radius of albumin, nm (cns_size_exponent, radius_ALB of the patient model).
SIZE_POWER, ALBUMIN_NM = 2.7, 3.55
#: Release of excitatory agonists that keeps the level 1 with every microglia active and the patient model's uptake.
WHOLE_UPTAKE_PER_H = 0.1
#: Distance between the planes in which fluid enters and leaves, um (spacing of penetrating vessels; recalled).
PLANES_UM = 200.0
UM3_PER_ML = 1e12


@dataclass(frozen=True)
class Counts:
    """Cells of each kind in the box."""

    vessels: int
    microglia: int
    astrocytes: int
    neurons: int

    @property
    def tissue(self) -> int:
        """All but vessels."""
        return self.microglia + self.astrocytes + self.neurons


def region_of(name: str) -> Region:
    """A region by name.

    Raises
    ------
    ModelError
        Unknown.
    """
    known = numbers().regions
    if name not in known:
        raise ModelError([problem("region", name, f"one of {', '.join(known)}", "Name a region of the table.")])
    return known[name]


def brain_tissue(
    region: str | Region, changed: Mapping[str, float] | None = None, *, seed: int, threads: int = 1
) -> Tissue:
    """A square of a region, at rest.

    Parameters
    ----------
    region
        Name, or a region of one's own.
    changed
        Parameters that differ from ``parameters.toml``.
    seed
        Places of the cells and all that is random.

    Raises
    ------
    ModelError
        Unknown names, negative values, a box without a vessel or a cell.
    """
    place = region if isinstance(region, Region) else region_of(region)
    v, data = values(changed), numbers()
    side = round(v["box_um"] / v["voxel_um"])
    grid = Grid((side, side), v["voxel_um"])
    counts = _counts(place, grid)
    medium = perivascular_flow(grid, v["flow"], PLANES_UM) if v["flow"] > 0 else Medium()
    substances = [Substance(s.name, v["diffusion"] * s.diffusion_um2_min, s.loss_per_h / 60) for s in data.substances]
    tissue = Tissue(
        Field(grid, substances, medium=medium), _kinds(counts, grid, v, data), _rules(counts, grid, v, data), seed=seed,
        steps=Steps(mechanics_min=6.0, phenotype_min=12.0, field_min=12.0, fluid_share=v["fluid_share"],
                    scheme="explicit", mechanics=False),
        threads=threads,
    )  # fmt: skip
    rng = stream(seed, "brain", place.name)
    tissue.add(VESSEL, _lattice(counts.vessels, grid, rng))
    for kind, count in ((MICROGLIA, counts.microglia), (ASTROCYTE, counts.astrocytes), (NEURON, counts.neurons)):
        tissue.add(kind, rng.random((count, 2)) * np.array(grid.size_um[::-1]))
    return tissue


def _counts(region: Region, grid: Grid) -> Counts:
    mm2 = grid.size_um[0] * grid.size_um[1] * 1e-6
    mm3 = grid.voxel_um3 * grid.voxels * 1e-9
    made = Counts(
        round(region.capillaries_mm2 * mm2), round(region.microglia_mm3 * mm3), round(region.astrocytes_mm3 * mm3),
        round(region.neurons_mm3 * mm3),
    )  # fmt: skip
    if min(made.vessels, made.microglia, made.astrocytes, made.neurons) < 1:
        raise ModelError([problem("box_um", grid.size_um[0], "at least one vessel and one cell of each kind",
                                  "The box is empty for these densities: make it larger.")])  # fmt: skip
    return made


def _lattice(count: int, grid: Grid, rng: np.random.Generator) -> Array:
    """About evenly spaced places, shape (count, 2), (x, y) in um: the best of ten random ones each time (Mitchell)."""
    size = np.array(grid.size_um[::-1])
    places = np.empty((count, 2))
    for i in range(count):
        tried = rng.random((10, 2)) * size
        if i == 0:
            places[0] = tried[0]
            continue
        apart = np.abs(tried[:, None] - places[None, :i])
        apart = np.minimum(apart, size - apart)
        places[i] = tried[np.argmax((apart**2).sum(axis=2).min(axis=1))]
    return places


def _kinds(counts: Counts, grid: Grid, v: Mapping[str, float], data: Numbers) -> list[Kind]:
    box, cell = grid.voxel_um3 * grid.voxels, Volumes().total_um3
    fluid_ml = box * v["fluid_share"] / UM3_PER_ML
    takes = {
        f"{s.name} uptake": v["uptake"] / 60 * box / (counts.tissue * cell)
        for s in data.substances if _cytokine(s)
    }  # fmt: skip
    glutamate = v["glutamate_uptake"] / 60 * box / (counts.astrocytes * cell)
    hypoxic = 1 - v["glutamate_hypoxic"]
    vessel = {f"{s.name} exchange": _exchange(s, grid, v, 1.0) for s in data.substances if s.radius_nm > 0}
    active = {
        f"{s.name} export": v["production"] * s.microglia_pg_ml_h / 60 * fluid_ml / counts.microglia * _kept(s, v)
        for s in data.substances if s.microglia_pg_ml_h > 0
    }  # fmt: skip
    reactive = {
        f"{s.name} export": v["production"] * s.astrocyte_pg_ml_h / 60 * fluid_ml / counts.astrocytes * _kept(s, v)
        for s in data.substances if s.astrocyte_pg_ml_h > 0
    }  # fmt: skip
    still = {"migration speed": 0.0}
    spared = 1 - v["glutamate_reactive"]
    return [
        Kind(VESSEL, {**vessel, "unplugging rate": v["unplugging"] / 60, "pericyte repair rate": 1 / 72 / 60},
             movable=False, vessel=True),
        Kind(MICROGLIA, {**still, **takes}),
        Kind(PRIMED, {**still, **takes, f"transform to {MICROGLIA}": v["microglia_off"] / 60,
                      f"transform to {ACTIVE}": v["microglia_on"] / v["gain"] / 60}),
        Kind(ACTIVE, {**still, **takes, **active, f"transform to {MICROGLIA}": v["microglia_off"] / 60}),
        Kind(ASTROCYTE, {**still, **takes, "GLU uptake": glutamate * hypoxic}),
        Kind(REACTIVE, {**still, **takes, **reactive, "GLU uptake": glutamate * hypoxic * spared,
                        f"transform to {ASTROCYTE}": v["astrocyte_off"] / 60}),
        Kind(NEURON, {**still, **takes, "damage repair rate": v["repair"] / 60}),
        Kind(T_CELL, {"migration speed": 5.0, "migration bias": 0.5, "migration persistence time": 10.0,
                      "chemotactic response to MCP1": 1.0, "apoptosis": 1 / v["t_life"] / 60,
                      "IFNG export": _t_cell_export(v, data)}),
    ]  # fmt: skip


def _rules(counts: Counts, grid: Grid, v: Mapping[str, float], data: Numbers) -> list[Rule]:
    half = {s.name: v["half"] * s.half for s in data.substances}
    n = v["hill"]
    glutamate = v["glutamate_uptake"] / 60 * grid.voxel_um3 * grid.voxels / (counts.astrocytes * Volumes().total_um3)
    entry = v["t_entry"] / 1440 * grid.voxel_um3 * grid.voxels * 1e-9 / counts.vessels
    rules = []
    for loss in ("barrier loss", "pericyte loss"):
        rules += [
            Rule(VESSEL, loss, "increases", f"{s.name} exchange", _exchange(s, grid, v, v["barrier_open"]), 0.5, 1.0,
                 shape="linear")
            for s in data.substances if s.radius_nm > 0
        ]  # fmt: skip
        rules.append(Rule(VESSEL, loss, "increases", f"extravasation of {T_CELL}", entry, 0.5, 1.0, shape="linear"))
        rules.append(Rule(VESSEL, loss, "increases", "plugging rate", v["plugging"] / 60, 0.5, 1.0, shape="linear"))
    for name in ("TNF", "IL1B"):
        rules.append(Rule(VESSEL, name, "increases", "pericyte loss rate", v["barrier_local"] / 60, half[name], n))
        rules.append(
            Rule(ASTROCYTE, name, "increases", f"transform to {REACTIVE}", v["astrocyte_on"] / 60, half[name], n)
        )
    for name in ("IL6B", "IFNG", "LEAK"):
        rules.append(Rule(MICROGLIA, name, "increases", f"transform to {PRIMED}", v["priming"] / 60, half[name], n))
    for name in ("IL6", "IL1B", "TNF"):
        rules.append(Rule(PRIMED, name, "increases", f"transform to {ACTIVE}", v["microglia_on"] / 60, half[name], n))
    for kind, share in ((ASTROCYTE, 1.0), (REACTIVE, 1 - v["glutamate_reactive"])):
        rules.append(Rule(kind, "perfusion", "increases", "GLU uptake", glutamate * share, 0.75, 0.5, shape="linear"))
    rules.append(Rule(NEURON, "GLU", "increases", "damage rate", v["toxicity"] / 60, half["GLU"] / v["half"], 2.0))
    rules.append(
        Rule(NEURON, "IL1B", "increases", "damage rate", v["toxicity"] / 60, 10 * half["IL1B"] / v["half"], 2.0)
    )
    rules.append(Rule(NEURON, "damage", "increases", "apoptosis", v["death"] / 60, 1.0, 4.0))
    return rules


def _cytokine(s: SubstanceData) -> bool:
    return s.name not in ("LEAK", "GLU")


def _kept(s: SubstanceData, v: Mapping[str, float]) -> float:
    """Factor on production that keeps the mean level, where cells take up more than the patient model's loss."""
    if s.name == "GLU":
        return v["glutamate_uptake"] / WHOLE_UPTAKE_PER_H
    return 1 + v["uptake"] / s.loss_per_h


def _exchange(s: SubstanceData, grid: Grid, v: Mapping[str, float], opened: float) -> float:
    """Permeability-surface product of one capillary, um3/min."""
    per_h = ALBUMIN_PER_H * (s.radius_nm / ALBUMIN_NM) ** -SIZE_POWER * opened + s.carrier_per_h
    fluid = grid.voxel_um3 * v["fluid_share"] * grid.voxels
    reference = REFERENCE_MM2 * grid.size_um[0] * grid.size_um[1] * 1e-6
    return per_h / 60 * fluid / reference


def _t_cell_export(v: Mapping[str, float], data: Numbers) -> float:
    """Interferon gamma from one T cell, pg/min, from the production at the density that one cell/uL sustains."""
    usual = {name: p.value for name, p in data.parameters.items()}
    per_mm3 = usual["t_entry"] * usual["t_life"] / 24
    ifng = next(s for s in data.substances if s.name == "IFNG")
    return v["t_ifng"] / 60 * v["fluid_share"] * 1e9 / UM3_PER_ML / per_mm3 * _kept(ifng, v)
