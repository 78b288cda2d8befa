"""The world of a batch of virtual patients: step it, watch it, dose in it. See :mod:`icans.intervene.world`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import ModelError, Problem
from icans.intervene.world import bedside
from icans.intervene.world.assays import ANALYTES, Assays, Results, read_assays
from icans.intervene.world.assays import table as laboratory
from icans.intervene.world.cast import Cast, as_cast, cast, surface_m2
from icans.intervene.world.dosing import Given, join
from icans.intervene.world.hidden import Hidden, Solver, Stretch, make_solver, start
from icans.intervene.world.observation import VITALS, Observation
from icans.intervene.world.outcomes import NEEDED, NOT_TREATMENT, Tally
from icans.mechanism.engine import inputs
from icans.mechanism.parameters import unknown
from icans.mechanism.patient import WHOLE, patient_model

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: Grid on which outcomes are read and routine samples drawn, hours: that of the calibrated populations.
RECORD_H = 6.0
#: Virtual patients of the ward whose results may be taken for another's.
WARD, WARD_H = 24, np.arange(0.0, 43 * 24.0, 6.0)


@dataclass(frozen=True, eq=False)
class Rules:
    """What all patients of a world share: solver, laboratory, seed, levels of the ward's other patients."""

    solver: Solver
    assays: Assays
    seed: int
    icu_by_grade: bool
    ward: npt.NDArray[np.float32]

    def place(self, names: Sequence[str]) -> list[int]:
        """Columns of outputs."""
        return [self.solver.outputs.index(n) for n in names]


class World:
    """Hidden patients; made by :func:`make_world`. Everything that it tells is synthetic."""

    def __init__(
        self, rules: Rules, hidden: Hidden, people: Cast, now: Array, reader: bedside.Reader, results: Results,
        tally: Tally, eeg_since: Array,
    ) -> None:  # fmt: skip
        self.rules, self.hidden, self.people, self.now = rules, hidden, people, now
        self.reader, self.results, self.tally, self.eeg_since = reader, results, tally, eeg_since
        self.numbers = people.numbers
        self.weight_kg = people.covariates["weight_kg"].to_numpy(dtype=float)
        self.crs_peak, self.icans_peak = np.zeros(len(now), np.int64), np.zeros(len(now), np.int64)

    def __len__(self) -> int:
        return len(self.hidden)

    @property
    def clock_h(self) -> Array:
        """Hours since infusion of every patient, shape (n,)."""
        return self.hidden.clock_h

    @property
    def time_h(self) -> float:
        """Hours since infusion of the first patient (the same for all where nobody was put in anew)."""
        return float(self.hidden.clock_h[0])

    @property
    def drugs(self) -> tuple[str, ...]:
        """Drugs that can be given, the cells among them."""
        return self.rules.solver.entries.drugs

    @property
    def doses_mg(self) -> Array:
        """What was given so far by drug (mg; cells of ``car_t``), shape (n, drugs)."""
        return self.hidden.given

    @property
    def surface_m2(self) -> Array:
        """Body surface, m2, shape (n,)."""
        return surface_m2(self.weight_kg)

    @property
    def ok(self) -> Mask:
        """Whose integration has not failed, shape (n,)."""
        return self.hidden.ok

    def truth(self, *names: str) -> Array:
        """Hidden outputs at the clock, shape (n, names): ground truth, which no policy may see."""
        for name in names:
            if name not in self.rules.solver.outputs:
                raise ModelError([unknown("output of this world", name, self.rules.solver.outputs)])
        return self.now[:, self.rules.place(names)]

    def give(
        self, drug: str, amount: npt.ArrayLike, unit: str = "mg", *, who: npt.ArrayLike | None = None,
        route: str = "iv", at_h: npt.ArrayLike | None = None, duration_h: float = 0.0, every_h: float | None = None,
        count: int = 1,
    ) -> Given:  # fmt: skip
        """Doses for :meth:`step`.

        Parameters
        ----------
        amount, at_h
            Numbers, or one per patient of the world. ``at_h``: hours since infusion, the clock if None.
        who
            Mask (n,) or rows; all if None.

        Raises
        ------
        ModelError
            What cannot be given.
        """
        rows = np.arange(len(self)) if who is None else np.arange(len(self))[np.asarray(who)]
        much = np.broadcast_to(np.asarray(amount, dtype=float), (len(self),))[rows]
        when = np.broadcast_to(self.clock_h if at_h is None else np.asarray(at_h, dtype=float), (len(self),))[rows]
        return self.rules.solver.entries.give(rows, drug, much, unit, when, route=route, duration_h=duration_h,
                                              every_h=every_h, count=count)  # fmt: skip

    def step(self, hours: float, doses: Given | Sequence[Given] | None = None) -> None:
        """Give doses and go on for so many hours; results and grades since are gathered on the grid.

        Raises
        ------
        ModelError
            Hours not above 0, doses for times that have passed or patients who are not there.
        """
        if doses is not None:
            self.hidden.plan(doses if isinstance(doses, Given) else join(list(doses)))
        before = self.hidden.given
        already = before.copy()
        begun = self.clock_h
        went = self.hidden.step(hours)
        self._treated(already, begun)
        for k in range(went.values.shape[1]):
            if went.on_grid[:, k].any():
                self._record(went, k)
        self.now = np.where(self.ok[:, None], went.end, self.now)

    def _treated(self, already: Array, begun: Array) -> None:
        """Note the first step in which something against toxicity was given."""
        counts = [k for k, d in enumerate(self.drugs) if d not in NOT_TREATMENT]
        more = (self.hidden.given[:, counts] > already[:, counts]).any(axis=1)
        self.tally.treated_at = np.where(more & np.isnan(self.tally.treated_at), begun, self.tally.treated_at)

    def _record(self, went: Stretch, k: int) -> None:
        values, time = went.values[:, k], went.time_h[:, k]
        mask = went.on_grid[:, k] & np.isfinite(values).all(axis=1)
        kept = {n: np.where(mask, values[:, c], 0.0) for n, c in zip(NEEDED, self.rules.place(NEEDED))}
        when = np.where(mask, time, 0.0)
        self.tally.add(kept, when, self.rules.solver.record_h, mask, self.reader, self.rules.icu_by_grade)
        routine = self.rules.assays.routine_h
        due = np.isfinite(routine) & (np.abs(np.mod(when[:, None] + 1e-6, routine)) < 1e-5) & mask[:, None]
        if due.any():
            self._draw(due, when, values[:, self.rules.place(self.rules.assays.outputs)])

    def _draw(self, mask: Mask, time_h: Array, truth: Array) -> Mask:
        place = np.clip(np.searchsorted(WARD_H, time_h + 1e-6, side="right") - 1, 0, len(WARD_H) - 1)
        others = self.rules.ward[:, place] if len(self.rules.ward) else self.rules.ward
        return self.results.draw(self.rules.assays, mask, self.numbers, time_h, truth, others)

    def order(self, what: npt.ArrayLike | Sequence[str], who: npt.ArrayLike | None = None) -> Mask:
        """Draw samples now.

        Parameters
        ----------
        what
            Mask (n, analytes), or names of analytes.
        who
            Mask (n,) or rows for names; all if None.

        Returns
        -------
        What was drawn, shape (n, analytes): not what comes too soon after the last sample.
        """
        mask = np.asarray(what)
        if mask.dtype.kind in "US":
            problems = [unknown("analyte", str(n), ANALYTES) for n in mask if n not in ANALYTES]
            if problems:
                raise ModelError(problems)
            rows = np.arange(len(self)) if who is None else np.arange(len(self))[np.asarray(who)]
            wanted = np.isin(ANALYTES, mask)
            mask = np.isin(np.arange(len(self)), rows)[:, None] & wanted
        if mask.shape != (len(self), len(ANALYTES)):
            raise ModelError([Problem("order", None, None, str(mask.shape), f"shape ({len(self)}, {len(ANALYTES)})",
                                      "Give a mask over patients and analytes.")])  # fmt: skip
        return self._draw(mask.astype(bool), self.clock_h, self.now[:, self.rules.place(self.rules.assays.outputs)])

    def eeg(self, on: npt.ArrayLike) -> None:
        """EEG on or off, mask (n,)."""
        wanted = np.broadcast_to(np.asarray(on, dtype=bool), (len(self),))
        started = wanted & np.isnan(self.eeg_since)
        self.eeg_since = np.where(wanted, np.where(started, self.clock_h, self.eeg_since), np.nan)

    def transfer(self, icu: npt.ArrayLike) -> None:
        """To (True) or from intensive care, mask (n,)."""
        self.tally.icu = np.broadcast_to(np.asarray(icu, dtype=bool), (len(self),)).copy()

    def observe(self) -> Observation:
        """What the ward knows now."""
        time = self.clock_h
        self.results.arrive(time)
        enceph, crs_level, expected, slowing, hazard = self.truth(
            "encephalopathy", "crs_severity", "ice_expected", "eeg_slowing", "SEIZ_HAZ"
        ).T
        icans, crs = self.reader.icans(enceph), self.reader.crs(crs_level)
        self.crs_peak = np.maximum(np.maximum(self.crs_peak, crs), self.tally.crs)
        self.icans_peak = np.maximum(np.maximum(self.icans_peak, icans), self.tally.icans)
        r, lloq = self.results, self.rules.assays.lloq
        with np.errstate(invalid="ignore"):
            below = r.value < lloq
            seen = time - self.eeg_since >= float(laboratory()["bedside"]["eeg_after_h"])
        eeg = np.where(seen, bedside.eeg_slowing(self.reader, self.numbers, time, slowing), np.nan)
        vitals = bedside.vital_signs(self.reader, self.numbers, time, self.truth(*VITALS))
        return Observation(
            time.copy(), np.fmax(r.value, np.where(np.isnan(r.value), np.nan, lloq)), time[:, None] - r.drawn, below,
            r.pending(time), r.first.copy(), r.peak.copy(), vitals, crs, icans, self.crs_peak.copy(),
            self.icans_peak.copy(), bedside.ice_score(self.reader, self.numbers, time, expected, icans), eeg,
            np.isfinite(self.eeg_since), self.reader.seized(hazard), self.tally.icu.copy(), self.doses_mg.copy(),
            self.drugs,
        )  # fmt: skip

    def outcomes(self) -> pd.DataFrame:
        """The outcome vector of every patient up to the clock; columns in ``outcomes.toml`` and ``dose_<drug>``."""
        return pd.DataFrame(self.outcome_columns())

    def outcome_columns(self) -> dict[str, npt.NDArray[Any]]:
        """The same by name, shape (n,) each."""
        return self.tally.columns(self.reader, self.drugs, self.doses_mg, self.results.spent_usd)

    def put(self, rows: npt.ArrayLike, other: World) -> None:
        """Other patients of the same kind of world, at their own hour, in the place of some."""
        at = np.arange(len(self))[np.asarray(rows)]
        self.hidden.put(at, other.hidden)
        self.results.put(at, other.results)
        self.tally.put(at, other.tally)
        self.reader = self.reader.put(at, other.reader)
        self.people = self.people.put(at, other.people)
        for name in ("now", "numbers", "weight_kg", "crs_peak", "icans_peak", "eeg_since"):
            mine = getattr(self, name).copy()
            mine[at] = getattr(other, name)
            setattr(self, name, mine)

    def branch(self, rows: npt.ArrayLike, numbers: Ints | None = None) -> World:
        """Copies of patients with everything that waits for them; a row may come several times.

        Parameters
        ----------
        numbers
            Other numbers (other errors of assays and vital signs to come); their own if None.
        """
        at = np.arange(len(self))[np.asarray(rows)]
        people = self.people.rows(at)
        reader = self.reader.rows(at)
        made = World(self.rules, self.hidden.rows(at), people, self.now[at], reader, self.results.rows(at),
                     self.tally.rows(at), self.eeg_since[at])  # fmt: skip
        made.crs_peak, made.icans_peak = self.crs_peak[at], self.icans_peak[at]
        made.numbers = self.numbers[at] if numbers is None else np.asarray(numbers, dtype=np.int64)
        return made


def make_world(
    patients: Any, *, drugs: Sequence[str] = (), regions: Sequence[str] = WHOLE, rtol: float = 1e-4, seed: int = 1,
    assays: Assays | None = None, reader_error: bool = True, scheme: tuple[str, str] = ("astct", "astct"),
    threads: int = 1, outputs: Sequence[str] = (), icu_by_grade: bool = True,
) -> World:  # fmt: skip
    """A world at infusion; the cells wait for the first step, the first routine samples are drawn.

    Parameters
    ----------
    patients
        A :class:`Cast`, or a virtual population.
    drugs
        Therapies that can be given.
    seed
        Of errors of assays and readers; with the seed of the population, readers are those of its calibration.
    assays
        The laboratory, see :func:`read_assays`.
    reader_error
        Whether a reader misjudges severity (by patient, as the calibration has it).
    scheme
        Schemes of CRS and of ICANS.
    outputs
        Further outputs of the model for :meth:`World.truth`.
    icu_by_grade
        Whether everybody whose grade calls for intensive care has it; else only by :meth:`World.transfer`.

    Raises
    ------
    ModelError
        Unknown drugs, parameters out of bounds, patients that do not fit together.
    """
    people = as_cast(patients)
    model = patient_model(drugs, regions=regions)
    lab = assays or read_assays()
    wanted = tuple(dict.fromkeys((*NEEDED, *lab.outputs, *VITALS, "ice_expected", "eeg_slowing", *outputs)))
    solver = make_solver(model, wanted, rtol=rtol, record_h=RECORD_H, threads=threads)
    known = [c for c in people.parameters.columns if c in model.parameters]
    table = inputs.parameter_table(model, people.parameters[known])
    hidden, now = start(solver, table)
    hidden.plan(solver.entries.from_doses(people.doses))
    reader = bedside.make_reader(people.numbers, seed, scheme=scheme, error=reader_error)
    rules = Rules(solver, lab, seed, icu_by_grade, _ward(people, lab, rtol))
    n = len(people)
    tally = Tally.begin({name: now[:, wanted.index(name)] for name in NEEDED})
    made = World(rules, hidden, people, now, reader, Results.none(n, lab, seed), tally, np.full(n, np.nan))
    made._draw(np.broadcast_to(np.isfinite(lab.routine_h), (n, len(ANALYTES))), made.clock_h,
               made.now[:, rules.place(lab.outputs)])  # fmt: skip
    return made


def _ward(people: Cast, lab: Assays, rtol: float) -> npt.NDArray[np.float32]:
    """Levels of other patients without treatment, shape (people, times, analytes); nobody where nothing is mixed up."""
    if lab.wrong_patient <= 0:
        return np.zeros((0, len(WARD_H), len(ANALYTES)), dtype=np.float32)
    from icans.mechanism.engine.simulate import simulate

    about = people.covariates.iloc[0]
    others = cast(WARD, str(about.get("product", "axi-cel")), str(about.get("disease", "LBCL")), seed=987_654)
    model = patient_model((), regions=WHOLE)
    found = simulate(model, others.parameters, others.doses, WARD_H, outputs=lab.outputs, rtol=rtol, threads=1)
    return np.nan_to_num(found.values).astype(np.float32)
