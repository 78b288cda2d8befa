"""Kinds of cell: size, volume dynamics, the spread of an inherited trait, and the value of every behaviour.

Volumes follow PhysiCell's model (Ghaffarizadeh et al. 2018, DOI 10.1371/journal.pcbi.1005991): fluid, nuclear solid
and cytoplasmic solid relax to their targets at own rates; dying cells shrink (apoptosis) or swell (necrosis).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.tissue.agents.names import Names, nearest


@dataclass(frozen=True)
class Volumes:
    """Volumes (um3) and rates (1/min) of a kind; the values are those of PhysiCell's standard cell [recalled]."""

    total_um3: float = 2494.0
    nuclear_um3: float = 540.0
    fluid_fraction: float = 0.75
    fluid_rate: float = 0.05
    cytoplasm_rate: float = 0.0045
    nuclear_rate: float = 0.0055
    apoptosis_min: float = 516.0
    apoptosis_fluid_rate: float = 0.05
    apoptosis_cytoplasm_rate: float = 0.016666666666666666
    apoptosis_nuclear_rate: float = 0.005833333333333333
    necrosis_min: float = 86400.0
    necrosis_fluid_rate: float = 0.011166666666666667
    necrosis_solid_rate: float = 5.333333333333334e-05


@dataclass(frozen=True)
class Kind:
    """One kind of cell.

    ``trait`` is a number that a cell is born with and passes on: mean, standard deviation, least, greatest
    (an antigen level, an oncoprotein). ``behaviours`` maps names (:mod:`icans.tissue.agents.names`) to base values.
    ``scaled`` names the behaviours that the trait multiplies. A kind that is not ``movable`` keeps its place whatever
    pushes. ``vessel``: a segment of a capillary.

    ``clock_cv``: None divides by chance at the rate ``cycle entry``; a number divides when age times that rate passes
    the cell's own pace, which is normal about 1 with this standard deviation (0: all alike).
    ``life`` (limit in min, power p) adds a hazard p/(limit - age), so that (1 - age/limit)^p survive.
    ``seize_um`` (near, far): prey is seized at the full rate up to a distance of centres of ``near``, falling to
    nothing at ``far``; None: at the full rate within the reach of adhesion. ``alone``: prey held by another is spared.
    ``chase_um`` (near, far): ``prey attraction`` draws it to prey between these distances of centres; None: from 1 um
    beyond touch to the reach of adhesion. ``arrested``: while another cell holds it, its life stands still (it neither
    ages, grows, divides nor dies, unless the other kills it).
    """

    name: str
    behaviours: Mapping[str, float] = field(default_factory=dict)
    volumes: Volumes = field(default_factory=Volumes)
    trait: tuple[float, float, float, float] = (1.0, 0.0, 0.0, np.inf)
    movable: bool = True
    vessel: bool = False
    scaled: tuple[str, ...] = ()
    clock_cv: float | None = None
    life: tuple[float, float] | None = None
    seize_um: tuple[float, float] | None = None
    alone: bool = False
    chase_um: tuple[float, float] | None = None
    arrested: bool = False
    colour: str = ""


@dataclass(frozen=True)
class Table:
    """All kinds as arrays: ``base`` (kinds, behaviours), ``volume`` (kinds, 13), the others (kinds, …)."""

    base: npt.NDArray[np.float64]
    volume: npt.NDArray[np.float64]
    movable: npt.NDArray[np.bool_]
    vessel: npt.NDArray[np.bool_]
    trait: npt.NDArray[np.float64]
    scaled: npt.NDArray[np.bool_]
    clock: npt.NDArray[np.float64]
    life: npt.NDArray[np.float64]
    seize: npt.NDArray[np.float64]
    alone: npt.NDArray[np.bool_]
    chase: npt.NDArray[np.float64]
    arrested: npt.NDArray[np.bool_]


def tabulate(kinds: Sequence[Kind], names: Names, file: str = "kinds") -> Table:
    """The kinds as arrays.

    Raises
    ------
    ModelError
        An unknown behaviour, a negative rate, a value that is no number, a name given twice; all at once.
    """
    problems: list[Problem] = []
    if not kinds:
        problems.append(Problem(file, None, None, None, "one kind of cell at least", "Describe a kind."))
    if len({kind.name for kind in kinds}) < len(kinds):
        problems.append(Problem(file, None, "name", None, "a name of its own for each kind", "Rename one."))
    scaled = np.zeros((max(len(kinds), 1), len(names.behaviours)), bool)
    base = np.tile(np.array(names.defaults()), (max(len(kinds), 1), 1))
    for row, kind in enumerate(kinds):
        for name, value in kind.behaviours.items():
            index = names.behaviour(name)
            if index is None:
                remedy = nearest(name, names.behaviours)
                problems.append(Problem(file, None, kind.name, name, "a known behaviour", remedy))
            elif not np.isfinite(value) or (value < 0 and not may_be_negative(name)):
                expected = f"a number not below 0 for {name!r}"
                problems.append(Problem(file, None, kind.name, str(value), expected, "Give 0 to switch it off."))
            else:
                base[row, index] = value
        for name in kind.scaled:
            if names.behaviour(name) is None:
                problems.append(
                    Problem(file, None, kind.name, name, "a known behaviour", nearest(name, names.behaviours))
                )
            else:
                scaled[row, names.behaviour(name)] = True
        problems += _body_problems(kind, file)
    if problems:
        raise ModelError(problems)
    volume = np.array([[float(v) for v in vars(kind.volumes).values()] for kind in kinds])
    return Table(
        base,
        volume,
        np.array([kind.movable for kind in kinds]),
        np.array([kind.vessel for kind in kinds]),
        np.array([kind.trait for kind in kinds], dtype=float),
        scaled,
        np.array([-1.0 if kind.clock_cv is None else kind.clock_cv for kind in kinds]),
        np.array([kind.life or (np.inf, 0.0) for kind in kinds], dtype=float),
        np.array([kind.seize_um or (-1.0, -1.0) for kind in kinds], dtype=float),
        np.array([kind.alone for kind in kinds]),
        np.array([kind.chase_um or (-1.0, -1.0) for kind in kinds], dtype=float),
        np.array([kind.arrested for kind in kinds]),
    )


def may_be_negative(behaviour: str) -> bool:
    """Chemotaxis away from a substance is a negative pull; nothing else is below 0."""
    return behaviour.startswith("chemotactic response")


def _body_problems(kind: Kind, file: str) -> list[Problem]:
    found = []
    for name, value in vars(kind.volumes).items():
        least_ok = value > 0 if name == "total_um3" else value >= 0
        if not (np.isfinite(value) and least_ok):
            found.append(Problem(file, None, kind.name, f"{name} = {value}", "a positive number", "Correct it."))
    if kind.volumes.fluid_fraction >= 1 or kind.volumes.nuclear_um3 > kind.volumes.total_um3:
        expected = "a fluid fraction below 1 and a nucleus no larger than the cell"
        found.append(Problem(file, None, kind.name, None, expected, "Correct the volumes."))
    if kind.trait[1] < 0 or kind.trait[2] > kind.trait[3]:
        found.append(Problem(file, None, kind.name, str(kind.trait), "mean, sd >= 0, least <= greatest", "Correct it."))
    if kind.clock_cv is not None and not kind.clock_cv >= 0:
        found.append(Problem(file, None, kind.name, str(kind.clock_cv), "clock_cv not below 0", "Correct it."))
    if kind.life is not None and not (kind.life[0] > 0 and kind.life[1] >= 0):
        found.append(
            Problem(file, None, kind.name, str(kind.life), "life: a limit above 0, a power >= 0", "Correct it.")
        )
    for name in ("seize_um", "chase_um"):
        range_ = getattr(kind, name)
        if range_ is not None and not (0 < range_[0] <= range_[1] and np.isfinite(range_[1])):
            found.append(Problem(file, None, kind.name, str(range_), f"{name}: 0 < near <= far", "Correct it."))
    return found
