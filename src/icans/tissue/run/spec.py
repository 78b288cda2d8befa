"""A run of tissue as a file: the domain, substances, kinds of cell, places, rules, blood, what is written.

TOML in, frozen sections out; everything is checked before anything moves, and all problems are told at once. Lengths
are in um, rates per minute, concentrations in pg/mL (or any unit used throughout), times of the run in hours.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from icans.core.errors import ConfigError, ModelError, Problem
from icans.tissue.agents.kinds import Kind, Volumes
from icans.tissue.agents.rules import Rule, read_rules, rules_from

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FaceSection(_Section):
    """What happens at a face: see :class:`icans.tissue.field.grid.Face`."""

    kind: Literal["closed", "fixed", "exchange"] = "closed"
    outside: Rate | dict[str, Rate] = 0.0
    velocity_um_min: Rate | dict[str, Rate] = 0.0


class HoleSection(_Section):
    """``[[domain.hole]]``: a disc or ball without tissue (a ventricle, a vessel), centre in the order (x, y, z)."""

    centre_um: tuple[float, ...] = Field(min_length=2, max_length=3)
    radius_um: Positive


class DomainSection(_Section):
    """``[domain]``: voxels along (y, x) or (z, y, x), their edge, the faces, holes.

    ``faces``: ``all`` for every outer one, ``mask`` for the rims of holes. A voxel is cut out if its centre lies in a
    hole.
    """

    shape: tuple[int, ...] = (100, 100)
    spacing_um: Positive = 20.0
    faces: dict[str, FaceSection] = Field(default_factory=dict)
    hole: tuple[HoleSection, ...] = ()

    @model_validator(mode="after")
    def _same_dimensions(self) -> DomainSection:
        if any(len(hole.centre_um) != len(self.shape) for hole in self.hole):
            raise ValueError(f"centres of holes have {len(self.shape)} coordinates, as the domain has axes")
        return self


class SubstanceSection(_Section):
    """``[[substance]]``: effective diffusion coefficient, decay, level at the start, the unit that figures name."""

    name: str = Field(min_length=1)
    diffusion_um2_min: Rate
    decay_per_min: Rate = 0.0
    start: Rate = 0.0
    unit: str = "pg/mL"


class PlaceSection(_Section):
    """Where and when cells are put: ``[[cell.place]]``.

    ``pattern``: "uniform" (at random in the tissue), "lattice" (hexagonal, touching, in a disc or ball of
    ``radius_um``, or everywhere), "disc" (at random in it), "outside" (at random beyond ``radius_um``), "points" (as
    given). ``centre_um`` is the middle of the box unless given. ``apart``: no two of these cells, nor one of them and
    one that is there, may overlap by more than a tenth; they are pushed apart before the run, and it is told.
    """

    pattern: Literal["uniform", "lattice", "disc", "outside", "points"] = "uniform"
    count: int | None = Field(None, ge=0)
    per_mm2: Rate | None = None
    radius_um: Positive | None = None
    centre_um: tuple[float, ...] | None = None
    points_um: tuple[tuple[float, ...], ...] = ()
    at_h: Rate = 0.0


class CellSection(_Section):
    """``[[cell]]``: a kind of cell; see :class:`icans.tissue.agents.kinds.Kind`."""

    name: str = Field(min_length=1)
    behaviours: dict[str, float] = Field(default_factory=dict)
    volumes: dict[str, float] = Field(default_factory=dict)
    trait: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 1e9)
    scaled: tuple[str, ...] = ()
    movable: bool = True
    vessel: bool = False
    clock_cv: Rate | None = None
    life: tuple[float, float] | None = None
    seize_um: tuple[float, float] | None = None
    alone: bool = False
    chase_um: tuple[float, float] | None = None
    arrested: bool = False
    colour: str = ""
    place: tuple[PlaceSection, ...] = ()


class BloodSection(_Section):
    """``[blood]``: what blood brings, straight lines between ``times_h``: pg/mL by substance, cells/uL by kind."""

    times_h: tuple[float, ...] = (0.0,)
    plasma: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    circulating: dict[str, tuple[float, ...]] = Field(default_factory=dict)


class StepsSection(_Section):
    """``[steps]``: see :class:`icans.tissue.agents.model.Steps`."""

    mechanics_min: Positive = 0.1
    phenotype_min: Positive = 6.0
    field_min: Positive | None = None
    fluid_share: Annotated[float, Field(gt=0, le=1)] = 0.2
    spring_per_min: Rate = 0.01
    perfusion_um: Positive = 50.0
    scheme: str = "auto"
    mechanics: bool = True


class RunSection(_Section):
    """``[tissue]``: name, length, seed, replicates, capacity, and how often things are counted and drawn."""

    name: str = Field("tissue", min_length=1, max_length=80)
    question: str = ""
    hours: Positive = 24.0
    every_h: Positive = 1.0
    frames_h: Positive | None = None
    seed: int = Field(20240201, ge=0)
    replicates: int = Field(1, ge=1, le=10_000)
    capacity: int = Field(200_000, ge=1)
    checkpoint_h: Positive = 24.0
    memory_gb: Positive = 8.0


class BrainSection(_Section):
    """``[brain]``: a piece of brain instead of a domain, substances and cells of one's own.

    ``changed``: parameters that differ from those of the package (``icans.tissue.parameters``).
    """

    region: str = "cortex"
    changed: dict[str, float] = Field(default_factory=dict)


class SweepAxis(_Section):
    """One ``[[sweep]]``: a number of the file by its path, its range, its scale.

    Paths: ``cell.<kind>.<behaviour>``, ``rule.<n>.saturation`` (or ``half_max``, ``hill``), ``substance.<name>.<key>``,
    ``brain.<parameter>``, ``blood.plasma.<substance>`` and ``blood.circulating.<kind>`` (a factor on the course).
    """

    path: str
    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> SweepAxis:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError("low below high, and above 0 on a logarithmic scale")
        return self


class Spec(_Section):
    """A whole run. ``rules`` are tables in the file; ``rules_csv`` names files beside it."""

    tissue: RunSection = RunSection()
    domain: DomainSection = DomainSection()
    steps: StepsSection = StepsSection()
    brain: BrainSection | None = None
    substance: tuple[SubstanceSection, ...] = ()
    cell: tuple[CellSection, ...] = ()
    rule: tuple[dict[str, Any], ...] = ()
    rules_csv: tuple[str, ...] = ()
    blood: BloodSection = BloodSection()
    sweep: tuple[SweepAxis, ...] = ()

    @model_validator(mode="after")
    def _something(self) -> Spec:
        own = bool(self.substance or self.cell)
        if self.brain is not None and own:
            raise ValueError("either [brain] or substances and cells of one's own, not both")
        if self.brain is None and not (self.substance and self.cell):
            raise ValueError("at least one [[substance]] and one [[cell]], or a [brain]")
        return self

    def kinds(self) -> list[Kind]:
        """The kinds of cell.

        Raises
        ------
        ModelError
            A volume that does not exist.
        """
        problems, kinds = [], []
        for cell in self.cell:
            unknown = sorted(set(cell.volumes) - set(vars(Volumes())))
            problems += [
                Problem("cell", None, cell.name, name, f"one of {sorted(vars(Volumes()))}", "Correct the name.")
                for name in unknown
            ]
            volumes = Volumes(**{k: v for k, v in cell.volumes.items() if k not in unknown})
            same = {name: getattr(cell, name) for name in
                    ("name", "behaviours", "trait", "scaled", "movable", "vessel", "clock_cv", "life", "seize_um",
                     "alone", "chase_um", "arrested", "colour")}  # fmt: skip
            kinds.append(Kind(volumes=volumes, **same))
        if problems:
            raise ModelError(problems)
        return kinds

    def rules(self, base: Path) -> list[Rule]:
        """The rules of the file, then those of the files that it names, which lie beside it in ``base``."""
        found = rules_from(list(enumerate(self.rule, 1)), "rule")
        for name in self.rules_csv:
            found += read_rules(base / name)
        return found


def read_spec(path: Path | str) -> Spec:
    """A run from a TOML file.

    Raises
    ------
    ConfigError
        It is no TOML, a section or key is unknown, a value is out of range; all at once.
    FileNotFoundError
        There is no such file.
    """
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(str(path), None, None, str(error), "a TOML file", "Correct the syntax.")]) from None
    return make_spec(raw, str(path))


def make_spec(raw: dict[str, Any], file: str = "spec") -> Spec:
    """A run from tables; see :func:`read_spec`."""
    try:
        return Spec.model_validate(raw)
    except ValidationError as error:
        raise ConfigError([_problem(file, each) for each in error.errors()]) from None


def _problem(file: str, error: Any) -> Problem:
    place = ".".join(str(part + 1) if isinstance(part, int) else str(part) for part in error["loc"])
    value = None if isinstance(error["input"], dict | list | tuple) else str(error["input"])
    remedy = "Remove or rename it." if error["type"] == "extra_forbidden" else "Correct the value."
    expected = "no such key" if error["type"] == "extra_forbidden" else error["msg"].lower()
    return Problem(file, None, place, value, expected, remedy)
