"""A piece of tissue in time: cells and field side by side, each seeing the other at the start of a step.

A step of mechanics (0.1 min): cells' rates go to the field, the field advances, cells push, seize and walk. Every
``phenotype_min`` (6 min) cells sense, follow their rules, grow, divide, die. The lengths are PhysiCell's
(Ghaffarizadeh et al. 2018, DOI 10.1371/journal.pcbi.1005991).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.tissue.agents import names as nm
from icans.tissue.agents.births import divide, enter, place_free
from icans.tissue.agents.cells import Cells, memory_bytes
from icans.tissue.agents.exchange import cell_rates, deposit, voxels_of
from icans.tissue.agents.killing import eat, engage, strike
from icans.tissue.agents.kinds import Kind, Table, tabulate
from icans.tissue.agents.motion import advance, forces, sort_boxes, surfaces
from icans.tissue.agents.names import Names
from icans.tissue.agents.perfusion import perfusion_map
from icans.tissue.agents.phenotype import GOES, live
from icans.tissue.agents.rules import Rule, apply_rules, compile_rules
from icans.tissue.agents.senses import sense
from icans.tissue.agents.threads import Threads
from icans.tissue.field.field import Field
from icans.tissue.field.ledger import Ledger
from icans.tissue.field.sources import Sources


@dataclass(frozen=True)
class Steps:
    """Lengths of steps, min, and what else steers a run.

    ``fluid_share`` is the part of the tissue that is interstitial fluid (0.2: Sykova & Nicholson 2008,
    DOI 10.1152/physrev.00027.2007); 1 makes an export dilute in the whole voxel, as PhysiCell has it.
    ``spring_per_min`` holds an effector to its prey (0.01: PhysiCell [recalled]). ``perfusion_um`` is how far an open
    capillary feeds. ``scheme`` is the field's, ``field_min`` its step where that is not the step of mechanics
    (a multiple of it; the field's schemes are of second order or exact, so that fast substances may take long steps).
    """

    mechanics_min: float = 0.1
    phenotype_min: float = 6.0
    fluid_share: float = 0.2
    spring_per_min: float = 0.01
    perfusion_um: float = 50.0
    scheme: str = "auto"
    field_min: float | None = None
    mechanics: bool = True


class Tissue:
    """Kinds of cell with rules, on a field.

    Parameters
    ----------
    field
        The substances (:class:`icans.tissue.field.field.Field`), with equal voxels along all axes.
    kinds, rules
        What cells are and what moves them.
    seed
        All that is random hangs on it.
    steps
        Lengths of steps.
    capacity
        More cells are refused.
    threads
        How many share the work; results do not depend on it.

    Attributes
    ----------
    plasma, circulating
        What blood brings: pg/mL by substance, cells/uL by kind; set them from outside between steps.
    ledger
        None, or the books of the field (:class:`icans.tissue.field.ledger.Ledger`), which are then kept.
    kills
        Shape (kinds, kinds): who killed how many of whom.
    time_min
        Where the run is.

    Raises
    ------
    ModelError
        Unknown names, negative rates, steps that do not divide, unequal voxels; all at once where possible.
    """

    def __init__(
        self, field: Field, kinds: Sequence[Kind], rules: Sequence[Rule] = (), *, seed: int, steps: Steps | None = None,
        capacity: int = 200_000, threads: int = 1,
    ) -> None:  # fmt: skip
        self.field, self.kinds, self.rules, self.seed = field, tuple(kinds), tuple(rules), int(seed)
        self.steps = steps or Steps()
        self.every, self.field_every = _checked(field, self.steps)
        self.names = Names(field.names, tuple(kind.name for kind in kinds))
        self.table: Table = tabulate(kinds, self.names)
        self.compiled = compile_rules(rules, self.names)
        self._attackers = self._who_attacks()
        self.cells = Cells(len(self.names.behaviours), capacity)
        self.threads = Threads(threads)
        self.h = float(field.grid.spacing[0])
        ny, nx = field.grid.shape[-2:]
        nz = field.grid.shape[0] if field.grid.dimensions == 3 else 1
        self.shape = np.array([nx, ny, nz], np.int64)
        self.size = self.shape * self.h
        mask = field.grid.mask
        self.mask = np.zeros((0, 0, 0), bool) if mask is None else np.ascontiguousarray(mask.reshape(nz, ny, nx))
        substances = len(field.names)
        self.plasma = np.zeros(substances)
        self.circulating = np.zeros(len(self.kinds))
        self.kills = np.zeros((len(self.kinds), len(self.kinds)), np.int64)
        self.step_count = 0
        self.lost = 0
        self.ledger: Ledger | None = None
        self.perfusion = np.zeros(0)
        self._production = np.zeros((substances, field.grid.voxels))
        self._loss = np.zeros_like(self._production)
        self._room, self._box = -1, 0.0
        self._made = self._lost = np.zeros((substances, 0))
        self._surface = np.zeros((3, 0))
        self._order = self._where = self._voxel = self._chosen = np.zeros(0, np.int64)

    @property
    def time_min(self) -> float:
        """Minutes since the start."""
        return self.step_count * self.steps.mechanics_min

    @property
    def flat(self) -> bool:
        """Two dimensions."""
        return self.field.grid.dimensions == 2

    def of(self, kind: str) -> npt.NDArray[np.bool_]:
        """Which cells are of a kind, shape (n,)."""
        return np.asarray(self.cells["kind"] == self.names.kinds.index(kind))

    def count(self, kind: str, state: int | None = 0) -> int:
        """How many cells of a kind are in a state (0 live, 1 apoptotic, 2 and 3 necrotic; None any)."""
        match = self.of(kind)
        return int(match.sum() if state is None else (match & (self.cells["state"] == state)).sum())

    def add(self, kind: str, places_um: npt.ArrayLike, **columns: Any) -> slice:
        """Put cells of a kind at places, shape (m, 2) or (m, 3), in the order (x, y, z); returns their slots.

        Raises
        ------
        ModelError
            An unknown kind, places outside the tissue, more cells than the capacity.
        """
        return place_free(self, kind, np.atleast_2d(np.asarray(places_um, float)), columns)

    def memory(self, cells: int) -> int:
        """Bytes that a run with so many cells needs."""
        voxels, substances = self.field.grid.voxels, len(self.field.names)
        return memory_bytes(cells, len(self.names.behaviours), voxels, substances)

    def run(self, until_min: float, watch: Callable[[Tissue], None] | None = None, watch_min: float = 60.0) -> None:
        """Go on to a time, min; ``watch`` is called every ``watch_min`` minutes, and at the end."""
        dt = self.steps.mechanics_min
        last = round(until_min / dt)
        every = max(1, round(watch_min / dt))
        while self.step_count < last:
            self.step()
            if watch is not None and (self.step_count % every == 0 or self.step_count == last):
                watch(self)

    def step(self) -> None:
        """One step of mechanics, with one of phenotypes before it where that is due."""
        fights = bool(self._attackers.any())
        due = self.step_count % self.every == 0
        if due or fights or self.steps.mechanics or self._room != self.cells.room:
            self._boxes()
        if due:
            self._phenotypes()
        c, b, t, n, dt = self.cells.data, self.cells.behaviour, self.threads, self.cells.n, self.steps.mechanics_min
        if self.step_count % self.field_every == 0:
            self._advance_field()
        if self.steps.mechanics:
            t.over(
                forces, n, c["x"], c["radius"], c["kind"], self.table.movable, self._surface, b, self._boxes_shape,
                self._start, self._order, self._where, c["partner"], self.steps.spring_per_min,
                self.names.behaviour_block("attack {}"), self.table.chase, self._push, c["pressure"],
            )  # fmt: skip
        if fights:
            t.over(
                engage, n, dt, self.step_count, self.seed, c["identity"], c["kind"], c["state"], c["x"], c["radius"],
                c["partner"], c["held"], b, self.names.behaviour_block("attack {}"), self._attackers, self.table.seize,
                self.table.alone, self._start, self._order, self._where, self._boxes_shape, self._act, self._chosen,
            )  # fmt: skip
            strike(
                n, dt, c["kind"], c["state"], c["partner"], c["held"], c["damage"], c["clock"], b, self.table.alone,
                self._act, self._chosen, self.kills,
            )  # fmt: skip
        t.over(
            advance, n, dt, self.step_count, self.seed, c["identity"], c["state"], c["partner"], c["x"], c["velocity"],
            c["heading"], self._push, b, self.names.behaviour_block("chemotactic response to {}"), self._values,
            self.h, self.size, self.mask,
        )  # fmt: skip
        self.step_count += 1

    def _advance_field(self) -> None:
        """Cells' rates to the voxels, and the field by one step of its own."""
        t, n = self.threads, self.cells.n
        t.over(voxels_of, n, self.cells.data["x"], self.h, self.shape, self._voxel)
        t.over(deposit, len(self.plasma), n, self._voxel, self._made, self._lost, self._production, self._loss, few=2)
        dt = self.field_every * self.steps.mechanics_min
        sources = Sources(self._production, self._loss)
        if self.ledger is None:
            self.field.step(dt, sources, scheme=self.steps.scheme)
        else:
            self.ledger.step(self.field, dt, sources, scheme=self.steps.scheme)

    @property
    def _values(self) -> npt.NDArray[np.float64]:
        return self.field.values.reshape(len(self.plasma), *self.shape[::-1])

    def _boxes(self) -> None:
        """Sort cells into boxes no smaller than the longest reach."""
        c, n = self.cells, self.cells.n
        if self._room != c.room:
            self._grow()
        if self.step_count % self.every == 0 or self._box == 0.0:
            reach = max(1.0, float((np.maximum(c.behaviour[nm.REACH, :n], 1.0) * c["radius"]).max(initial=0.0)))
            self._box = max(2.0 * reach * 1.05, 2.0, float(self.table.seize.max()), float(self.table.chase.max()))
            self._boxes_shape = np.maximum(1, (self.size / self._box).astype(np.int64))
            self._start = np.zeros(int(self._boxes_shape.prod()) + 1, np.int64)
        sort_boxes(n, c.data["x"], self._box, self._boxes_shape, self._start, self._order, self._where)

    def _grow(self) -> None:
        """Work space for as many cells as there is room for."""
        self._room = room = self.cells.room
        self._box = 0.0
        self._order, self._where, self._voxel, self._chosen = (np.zeros(room, np.int64) for _ in range(4))
        self._act, self._event = np.zeros(room, np.int64), np.zeros(room, np.int64)
        self._enters = np.zeros(room, np.int64)
        self._push = np.zeros((3, room))
        self._signal = np.zeros((len(self.names.signals), room))
        # What holds until the next step of phenotypes is kept: cells may be added between two of them.
        self._made, self._lost, self._surface = (_wider(a, room) for a in (self._made, self._lost, self._surface))

    def _phenotypes(self) -> None:
        """Cells sense, follow rules, change, divide, die; vessels let cells in; then all are put in order of place."""
        self._sense_and_rule()
        c, t, n, names = self.cells.data, self.threads, self.cells.n, self.names
        t.over(
            live, n, self.steps.phenotype_min, self.step_count, self.seed, c["identity"], c["kind"], c["state"],
            c["fluid"], c["nuclear"], c["cytoplasm"], c["radius"], c["clock"], c["age"], c["damage"], c["barrier"],
            c["pericyte"], c["plugged"], self.table.volume, self.table.vessel, self.cells.behaviour,
            names.behaviour_block("transform to {}"), names.behaviour_block("extravasation of {}"), self.circulating,
            c["pace"], self.table.clock, self.table.life, c["held"], self.table.arrested, self._event, self._enters,
        )  # fmt: skip
        event, enters = self._event[:n].copy(), self._enters[:n].copy()
        if self._does(nm.EAT):
            t.over(
                eat, n, self.steps.phenotype_min, self.step_count, self.seed, c["identity"], c["state"], c["x"],
                c["radius"], self.cells.behaviour, self._start, self._order, self._where, self._boxes_shape,
                self._chosen,
            )  # fmt: skip
            event[self._chosen[:n][self._chosen[:n] >= 0]] = GOES
        divide(self, event)
        enter(self, enters)
        self._boxes()
        stays = np.ones(self.cells.n, bool)
        stays[:n] = event != GOES
        order = self._order[: self.cells.n]
        self.cells.arrange(order[stays[order]].copy())
        self._boxes()
        self._sense_and_rule()
        self._rates()

    def _sense_and_rule(self) -> None:
        c, t, n, names = self.cells.data, self.threads, self.cells.n, self.names
        if self.table.vessel.any():
            self.perfusion = perfusion_map(self)
        t.over(voxels_of, n, c["x"], self.h, self.shape, self._voxel)
        volume = c["fluid"] + c["nuclear"] + c["cytoplasm"]
        t.over(
            sense, n, self.time_min, c["kind"], c["state"], c["x"], c["radius"], volume, c["pressure"], c["damage"],
            c["trait"], c["partner"], c["held"], c["barrier"], c["pericyte"], c["plugged"], c["age"], self._voxel,
            self.perfusion, self._values, self.mask, self.h, self.cells.behaviour, names.signal_block("contact"),
            self._start, self._order, self._where, self._boxes_shape, self._uses_gradients, self._signal,
        )  # fmt: skip
        at = names.signal_block("plasma")
        self._signal[at : at + len(self.plasma), :n] = self.plasma[:, None]
        at = names.signal_block("circulating")
        self._signal[at : at + len(self.kinds), :n] = self.circulating[:, None]
        t.over(
            apply_rules, n, c["kind"], c["state"], self._signal, self.table.base, self.table.scaled, c["trait"],
            self.compiled.index,
            self.compiled.number, self.compiled.first, self.cells.behaviour,
        )  # fmt: skip

    def _rates(self) -> None:
        """What cells give and take, until the next step of phenotypes."""
        c, n = self.cells.data, self.cells.n
        self.threads.over(surfaces, n, c["radius"], self.cells.behaviour, self._surface)
        volume, voxel = c["fluid"] + c["nuclear"] + c["cytoplasm"], self.field.grid.voxel_um3
        self.threads.over(
            cell_rates, n, len(self.plasma), self.names.behaviour_block("{} secretion"), volume, c["plugged"],
            self.plasma, voxel, voxel * self.steps.fluid_share, self.cells.behaviour, self._made, self._lost,
        )  # fmt: skip

    def _does(self, behaviour: int) -> bool:
        """Whether any kind does this, by itself or by a rule."""
        return bool(self.table.base[:, behaviour].any() or (self.compiled.index[:, 1] == behaviour).any())

    def _who_attacks(self) -> npt.NDArray[np.bool_]:
        """Kinds that attack, by themselves or by a rule."""
        at = self.names.behaviour_block("attack {}")
        may: npt.NDArray[np.bool_] = np.array(self.table.base[:, at : at + len(self.kinds)].any(axis=1))
        rules = self.compiled.index
        attacks = (rules[:, 1] >= at) & (rules[:, 1] < at + len(self.kinds))
        may[rules[attacks, 0]] = True
        return may

    @property
    def _uses_gradients(self) -> bool:
        at = self.names.signal_block("gradient")
        return bool(((self.compiled.index[:, 3] >= at) & (self.compiled.index[:, 3] < at + len(self.plasma))).any())


def _wider(values: npt.NDArray[np.float64], room: int) -> npt.NDArray[np.float64]:
    """The same with room for more cells."""
    return np.pad(values, ((0, 0), (0, room - values.shape[1])))


def _checked(field: Field, steps: Steps) -> tuple[int, int]:
    """How many steps of mechanics one of phenotypes and one of the field take; refuses what cannot be stepped."""
    problems = []
    for name in ("mechanics_min", "phenotype_min", "perfusion_um"):
        if not (np.isfinite(getattr(steps, name)) and getattr(steps, name) > 0):
            problems.append(Problem("steps", None, name, str(getattr(steps, name)), "a positive number", "Correct it."))
    if not 0 < steps.fluid_share <= 1:
        problems.append(Problem("steps", None, "fluid_share", str(steps.fluid_share), "a part of 1", "Usual: 0.2."))
    every = round(steps.phenotype_min / steps.mechanics_min) if not problems else 1
    if not problems and (every < 1 or abs(every * steps.mechanics_min - steps.phenotype_min) > 1e-9):
        expected = "a whole multiple of mechanics_min"
        problems.append(
            Problem("steps", None, "phenotype_min", str(steps.phenotype_min), expected, "Usual: 0.1 and 6.")
        )
    if len(set(field.grid.spacing)) > 1:
        spacing = str(field.grid.spacing)
        problems.append(Problem("field", None, "spacing_um", spacing, "the same on all axes", "Use cubic voxels."))
    share = 1 if steps.field_min is None or problems else round(steps.field_min / steps.mechanics_min)
    whole = steps.field_min is None or (share >= 1 and abs(share * steps.mechanics_min - steps.field_min) < 1e-9)
    if not problems and (not whole or every % share):
        expected = "a whole multiple of mechanics_min that divides phenotype_min"
        problems.append(Problem("steps", None, "field_min", str(steps.field_min), expected, "Leave it out."))
    if problems:
        raise ModelError(problems)
    return every, share
