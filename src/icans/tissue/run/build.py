"""From the file of a run to the tissue at its start: field, kinds, rules, cells in place, overlaps mended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.core.random import stream
from icans.tissue.agents.births import inside
from icans.tissue.agents.model import Steps, Tissue
from icans.tissue.agents.overlaps import Mended, mend_overlaps
from icans.tissue.field.field import Field
from icans.tissue.field.grid import FACES, Face, Grid, Medium, Substance
from icans.tissue.run.spec import DomainSection, PlaceSection, Spec

Array = npt.NDArray[np.float64]


@dataclass
class Scene:
    """A tissue with what is still to come: cells put in later, what blood brings; ``mended`` tells what was mended."""

    tissue: Tissue
    spec: Spec
    replicate: int
    mended: list[Mended]

    def due(self, before_min: float, until_min: float) -> None:
        """Put in the cells whose time lies in (before, until], and set what blood brings now."""
        for cell in self.spec.cell:
            for number, place in enumerate(cell.place):
                if before_min < place.at_h * 60 <= until_min:
                    self.mended += put(self.tissue, cell.name, place, number, self.replicate)
        set_blood(self.tissue, self.spec)

    def run(self, until_min: float) -> None:
        """Go on to a time, stopping wherever cells are due, and for what blood brings once every phenotype step."""
        tissue = self.tissue
        stops = {until_min, *(p.at_h * 60 for c in self.spec.cell for p in c.place)}
        beat = tissue.steps.phenotype_min
        stops |= {beat * k for k in range(int(tissue.time_min / beat) + 1, int(until_min / beat) + 1)}
        for stop in sorted(s for s in stops if tissue.time_min < s <= until_min):
            before = tissue.time_min
            tissue.run(stop)
            self.due(before, tissue.time_min)


def build(spec: Spec, base: Path = Path(), *, replicate: int = 0, threads: int = 1) -> Scene:
    """The tissue of a file at its start.

    Parameters
    ----------
    spec
        The run.
    base
        Folder of the file, for the rules that it names.
    replicate
        Number of the replicate: each has random numbers of its own.
    threads
        How many share the work of one tissue.

    Raises
    ------
    ModelError
        Unknown names, negative rates, places outside, more cells or memory than allowed.
    """
    seed = int(stream(spec.tissue.seed, "tissue", replicate).integers(2**63))
    if spec.brain is not None:
        from icans.tissue.brain.build import brain_tissue

        tissue = brain_tissue(spec.brain.region, spec.brain.changed, seed=seed, threads=threads)
        tissue.cells.most = spec.tissue.capacity
    else:
        steps = Steps(**spec.steps.model_dump())
        tissue = Tissue(
            _field(spec), spec.kinds(), spec.rules(base), seed=seed, steps=steps, capacity=spec.tissue.capacity,
            threads=threads,
        )  # fmt: skip
    _enough_memory(tissue, spec)
    _known_blood(tissue, spec)
    scene = Scene(tissue, spec, replicate, [])
    scene.due(-1.0, 0.0)
    return scene


def _field(spec: Spec) -> Field:
    domain = spec.domain
    grid = Grid(domain.shape, domain.spacing_um, _mask(domain))
    faces: dict[str, Face] = {}
    for name, face in domain.faces.items():
        given = Face(face.kind, face.outside, face.velocity_um_min)
        faces.update({each: given for each in FACES[: 2 * 3]} if name == "all" else {name: given})
    substances = [Substance(s.name, s.diffusion_um2_min, s.decay_per_min) for s in spec.substance]
    start = np.array([s.start for s in spec.substance])
    medium = Medium(faces={n: f for n, f in faces.items() if grid.dimensions == 3 or not n.startswith("z")})
    return Field(grid, substances, start, medium)


def _mask(domain: DomainSection) -> npt.NDArray[np.bool_] | None:
    """Where there is tissue; None without holes."""
    if not domain.hole:
        return None
    centres = Grid(domain.shape, domain.spacing_um).centres()[::-1]
    mask = np.ones(domain.shape, bool)
    for hole in domain.hole:
        far = sum((c - middle) ** 2 for c, middle in zip(centres, hole.centre_um, strict=True))
        mask &= np.asarray(far) > hole.radius_um**2
    return mask


def put(tissue: Tissue, kind: str, place: PlaceSection, number: int, replicate: int) -> list[Mended]:
    """Put the cells of one ``place`` and push apart who overlaps; returns what was mended."""
    draw = stream(tissue.seed, "place", kind, number)
    points = _points(tissue, kind, place, draw)
    new = tissue.add(kind, points)
    return mend_overlaps(tissue, new)


def _points(tissue: Tissue, kind: str, place: PlaceSection, draw: np.random.Generator) -> Array:
    dimensions = 2 if tissue.flat else 3
    size = tissue.size[:dimensions]
    centre = size / 2 if place.centre_um is None else np.asarray(place.centre_um, float)[:dimensions]
    if place.pattern == "points":
        return np.array(place.points_um, float).reshape(-1, len(place.points_um[0]) if place.points_um else dimensions)
    if place.pattern == "lattice":
        index = tissue.names.kinds.index(kind)
        radius = float(np.cbrt(0.75 / np.pi * tissue.table.volume[index, 0]))
        found = lattice(radius, size, centre, place.radius_um)
        found = found[inside(tissue, _three(found))]
        return found if place.count is None else draw.permutation(found)[: place.count]
    count = place.count
    if count is None:
        area = float(tissue.mask.any(axis=0).sum() * tissue.h**2) if tissue.mask.size else float(size[0] * size[1])
        count = round((place.per_mm2 or 0.0) * area * 1e-6)
    return _random(tissue, place, count, centre, size, draw)


def _random(
    tissue: Tissue,
    place: PlaceSection,
    count: int,
    centre: npt.NDArray[Any],
    size: npt.NDArray[Any],
    draw: np.random.Generator,
) -> Array:
    """Places at random in the tissue, by trial; refused when there is hardly any room."""
    kept: list[Array] = []
    missing = count
    for _ in range(1000):
        if missing <= 0:
            break
        trial = draw.random((2 * missing + 100, size.size)) * size
        good = inside(tissue, _three(trial))
        if place.pattern in ("disc", "outside"):
            near = ((trial - centre) ** 2).sum(axis=1) <= (place.radius_um or 0.0) ** 2
            good &= near if place.pattern == "disc" else ~near
        kept.append(trial[good][:missing])
        missing -= len(kept[-1])
    if missing > 0:
        found = f"room for {count - missing} of {count}"
        problem = Problem("cell.place", None, place.pattern, found, "room in the tissue", "Enlarge it, or the radius.")
        raise ModelError([problem])
    return np.concatenate(kept) if kept else np.zeros((0, size.size))


def lattice(radius: float, size: npt.NDArray[Any], centre: npt.NDArray[Any], within: float | None) -> Array:
    """Touching cells in a hexagonal lattice of a disc or ball about a centre, or of the box: (m, dimensions).

    The rows are those of PhysiCell's sample of a tumour, sqrt(3) radii apart.
    """
    reach = float(np.sqrt((size**2).sum())) if within is None else within
    steps = np.array([np.sqrt(3) * radius, 2 * radius, np.sqrt(3) * radius])[: size.size]
    axes = [np.arange(int(2 * reach / step) + 1) for step in steps]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, size.size)
    place = index * steps - reach
    place[:, 1] += (index[:, 0] % 2) * radius
    if size.size == 3:
        place[:, 0] += (index[:, 2] % 2) * 0.5 * radius
    place = place[(place**2).sum(axis=1) <= reach**2] + centre
    return np.asarray(place[((place >= 0) & (place <= size)).all(axis=1)])


def _three(points: Array) -> Array:
    """Points (m, 2 or 3) as coordinates (3, m)."""
    x = np.zeros((3, len(points)))
    x[: points.shape[1]] = points.T
    return x


def set_blood(tissue: Tissue, spec: Spec) -> None:
    """What blood brings at the time of the tissue."""
    now, times = tissue.time_min / 60, np.array(spec.blood.times_h)
    for name, values in spec.blood.plasma.items():
        tissue.plasma[tissue.field.names.index(name)] = np.interp(now, times, values)
    for name, values in spec.blood.circulating.items():
        tissue.circulating[tissue.names.kinds.index(name)] = np.interp(now, times, values)


def _known_blood(tissue: Tissue, spec: Spec) -> None:
    problems = []
    times = spec.blood.times_h
    if list(times) != sorted(set(times)):
        problems.append(Problem("blood", None, "times_h", str(times), "increasing times", "Sort them."))
    for what, given, known in (
        ("plasma", spec.blood.plasma, tissue.field.names),
        ("circulating", spec.blood.circulating, tissue.names.kinds),
    ):
        for name, values in given.items():
            if name not in known:
                problems.append(Problem("blood", None, what, name, f"one of {list(known)}", "Correct the name."))
            if len(values) != len(times) or min(values, default=0.0) < 0:
                expected = f"{len(times)} numbers not below 0, one for each time"
                problems.append(Problem("blood", None, f"{what}.{name}", str(values), expected, "Correct them."))
    if problems:
        raise ModelError(problems)


def _enough_memory(tissue: Tissue, spec: Spec) -> None:
    """Refuse a run whose cells would not fit into the memory that the file allows."""
    wanted = sum(place.count or 0 for cell in spec.cell for place in cell.place)
    need, allowed = tissue.memory(wanted) / 1e9, spec.tissue.memory_gb
    problems = []
    if need > allowed:
        remedy = "Put fewer cells, coarsen the grid, or raise memory_gb if this machine has it."
        problems.append(Problem("tissue", None, "memory_gb", f"{need:.2f} GB", f"at most {allowed:g} GB", remedy))
    if wanted > spec.tissue.capacity:
        remedy = "Raise the capacity, or put fewer cells."
        expected = f"at most {spec.tissue.capacity} cells"
        problems.append(Problem("tissue", None, "capacity", str(wanted), expected, remedy))
    if problems:
        raise ModelError(problems)


def as_tables(mended: list[Mended]) -> list[dict[str, Any]]:
    """What was mended, as plain values for files."""
    return [vars(each) for each in mended]
