"""The laboratory: samples are drawn, results come back later, some are lost and some are another patient's.

A sample is taken at a time; its value is that of the model at that time with an error of the assay; it is known from
``drawn + turnaround`` on. What an observation at t shows of an analyte is the latest *drawn* of the results that are
back by t. Nothing is interpolated: a stale result stays what it is and its age is told. Error and turnaround belong
to patient, analyte and hour of drawing (:mod:`.chance`), so that they are the same in every arm.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.intervene.world import chance
from icans.mechanism.parameters import unknown

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@cache
def table() -> dict[str, Any]:
    """The contents of ``assays.toml``."""
    return tomllib.loads((resources.files(__package__) / "assays.toml").read_text(encoding="utf-8"))


#: Analytes, in order.
ANALYTES: tuple[str, ...] = tuple(table()["analyte"])


@dataclass(frozen=True)
class Assays:
    """How the laboratory works; see ``assays.toml``.

    ``turnaround_h``: shape (analytes, 2); ``sd``, ``lloq``, ``usd``: (analytes,); ``routine_h``: hours between samples
    drawn unasked (inf: none). ``dropped``: share of samples that are lost; ``wrong_patient``: share of results that
    are another patient's; ``late_h``: added to every turnaround.
    """

    outputs: tuple[str, ...]
    units: tuple[str, ...]
    turnaround_h: Array
    sd: Array
    lloq: Array
    usd: Array
    routine_h: Array
    least_apart_h: float
    dropped: float = 0.0
    wrong_patient: float = 0.0
    late_h: float = 0.0
    error: bool = True

    @property
    def slots(self) -> int:
        """Samples of an analyte that can be under way at a time, and two more."""
        return math.ceil((self.turnaround_h[:, 1].max() + self.late_h) / self.least_apart_h) + 2


def read_assays(
    *, turnaround_h: Mapping[str, float | tuple[float, float]] | None = None,
    routine_h: Mapping[str, float] | None = None, dropped: float = 0.0, wrong_patient: float = 0.0,
    late_h: float = 0.0, error: bool = True,
) -> Assays:  # fmt: skip
    """The laboratory of ``assays.toml`` with changes.

    Parameters
    ----------
    turnaround_h
        Analyte -> hours, or lowest and highest; ``"all"`` for every analyte.
    routine_h
        Analyte -> hours between samples drawn unasked, in place of ``[routine]`` ({}: nothing unasked). Multiples of 6
        h; a sample is drawn where the hours since infusion are a multiple of it.
    dropped, wrong_patient
        Shares of samples, 0 to 1.
    late_h
        Added to every turnaround.
    error
        Whether assays have an error.

    Raises
    ------
    ModelError
        Unknown analytes, shares and times that make no sense: all of them.
    """
    entries = table()["analyte"]
    routine = {k: v for k, v in table()["routine"].items() if k in entries} if routine_h is None else dict(routine_h)
    changes = {k: (v if isinstance(v, tuple) else (v, v)) for k, v in (turnaround_h or {}).items()}
    _check(changes, routine, {"dropped": dropped, "wrong_patient": wrong_patient}, late_h)
    everywhere = changes.get("all")
    spans = np.array([changes.get(n, everywhere or tuple(e["turnaround_h"])) for n, e in entries.items()], dtype=float)
    made = {name: np.array([float(e[name]) for e in entries.values()]) for name in ("sd", "lloq", "usd")}
    return Assays(
        tuple(e["output"] for e in entries.values()), tuple(e["unit"] for e in entries.values()), spans, made["sd"],
        made["lloq"], made["usd"], np.array([float(routine.get(n, math.inf)) for n in entries]),
        float(table()["default"]["least_apart_h"]), dropped, wrong_patient, late_h, error,
    )  # fmt: skip


def _check(
    turnaround: Mapping[str, tuple[float, float]], routine: Mapping[str, float], shares: Mapping[str, float],
    late_h: float,
) -> None:  # fmt: skip
    problems = [unknown("analyte", n, (*ANALYTES, "all")) for n in turnaround if n not in (*ANALYTES, "all")]
    problems += [unknown("analyte", n, ANALYTES) for n in routine if n not in ANALYTES]
    problems += [
        Problem("assays", None, n, str(v), "two hours, 0 <= low <= high, finite", "Correct it.")
        for n, v in turnaround.items() if len(v) != 2 or not 0 <= v[0] <= v[1] < math.inf
    ]  # fmt: skip
    problems += [
        Problem("assays", None, n, repr(v), "hours above 0, a multiple of 6", "Correct it.")
        for n, v in routine.items() if not v > 0 or (math.isfinite(v) and v % 6.0)
    ]  # fmt: skip
    problems += [Problem("assays", None, n, repr(v), "a share from 0 to 1", "Correct it.")
                 for n, v in shares.items() if not 0 <= v <= 1]  # fmt: skip
    if not 0 <= late_h < math.inf:
        problems.append(Problem("assays", None, "late_h", repr(late_h), "hours, at least 0", "Correct it."))
    if problems:
        raise ModelError(problems)


@dataclass
class Results:
    """Samples under way, shape (n, analytes, slots), and the latest result of each analyte, shape (n, analytes)."""

    ready: Array
    taken: Array
    measured: Array
    at: Ints
    last_draw: Array
    drawn: Array
    value: Array
    peak: Array
    first: Array
    spent_usd: Array
    keys: tuple[np.uint64, ...] = field(default=())

    @classmethod
    def none(cls, n: int, assays: Assays, seed: int) -> Results:
        """Nothing was drawn."""
        a, s = len(ANALYTES), assays.slots
        keys = tuple(chance.key(seed, "assay", what) for what in ("error", "turnaround", "dropped", "wrong", "whose"))
        nan = np.full((n, a), np.nan)
        return cls(np.full((n, a, s), np.inf), np.full((n, a, s), np.nan), np.full((n, a, s), np.nan),
                   np.zeros((n, a), np.int64), np.full((n, a), -np.inf), nan.copy(), nan.copy(), nan.copy(),
                   nan.copy(), np.zeros(n), keys)  # fmt: skip

    def rows(self, chosen: Ints) -> Results:
        """Copies of some patients' results."""
        return replace(self, **{f.name: getattr(self, f.name)[chosen] for f in fields(self) if f.name != "keys"})

    def put(self, rows: Ints, other: Results) -> None:
        """Other patients' results in the place of some."""
        for f in fields(self):
            if f.name != "keys":
                getattr(self, f.name)[rows] = getattr(other, f.name)

    def draw(
        self, assays: Assays, mask: Mask, numbers: Ints, time_h: Array, truth: Array,
        others: npt.NDArray[np.floating[Any]],
    ) -> Mask:  # fmt: skip
        """Draw samples; those too soon after the last one are not drawn.

        Parameters
        ----------
        mask
            Which, shape (n, analytes).
        time_h
            Hours since infusion, shape (n,).
        truth
            Levels at that time, shape (n, analytes).
        others
            Levels of patients whose results may be taken for theirs, shape (people, n, analytes).

        Returns
        -------
        What was drawn, shape (n, analytes).
        """
        drawn = mask & (time_h[:, None] - self.last_draw >= assays.least_apart_h - 1e-6)
        who, what = np.nonzero(drawn)
        if not len(who):
            return drawn
        when = time_h[who]
        count = np.rint(when * 60.0).astype(np.int64) * len(ANALYTES) + what
        error, turnaround, dropped, wrong, whose = self.keys
        number = numbers[who]
        level = truth[who, what].astype(float)
        if assays.wrong_patient > 0 and len(others):
            mixed = chance.uniforms(wrong, number, count) < assays.wrong_patient
            person = (chance.uniforms(whose, number, count) * len(others)).astype(np.int64)
            level = np.where(mixed, others[person, who, what], level)
        if assays.error:
            level = level * np.exp(assays.sd[what] * chance.normals(error, number, count))
        low, high = assays.turnaround_h[what].T
        ready = when + low + (high - low) * chance.uniforms(turnaround, number, count) + assays.late_h
        if assays.dropped > 0:
            lost = chance.uniforms(dropped, number, count) < assays.dropped
            ready = np.where(lost, np.inf, ready)
        self._fold(who, what, when)
        slot = self.at[who, what]
        self.ready[who, what, slot], self.taken[who, what, slot] = ready, when
        self.measured[who, what, slot] = level
        self.at[who, what] = (slot + 1) % assays.slots
        self.last_draw[who, what] = when
        np.add.at(self.spent_usd, who, assays.usd[what])
        return drawn

    def _fold(self, who: Ints, what: Ints, when: Array) -> None:
        """Results that were back at their slot's next use become known before it is used again."""
        slot = self.at[who, what]
        back = self.ready[who, what, slot] <= when
        self._know(who[back], what[back], slot[back])

    def _know(self, who: Ints, what: Ints, slot: Ints) -> None:
        taken, level = self.taken[who, what, slot], self.measured[who, what, slot]
        self.ready[who, what, slot] = np.inf
        self.peak[who, what] = np.fmax(self.peak[who, what], level)
        newest = ~(taken <= self.drawn[who, what])
        who, what, taken, level = who[newest], what[newest], taken[newest], level[newest]
        self.first[who, what] = np.where(np.isnan(self.drawn[who, what]), level, self.first[who, what])
        self.drawn[who, what], self.value[who, what] = taken, level

    def arrive(self, time_h: Array) -> None:
        """Take in what is back by now: one slot after another, so that the latest drawn stays."""
        back = self.ready <= time_h[:, None, None]
        while back.any():
            who, what = np.nonzero(back.any(axis=2))
            slot = np.argmax(back[who, what], axis=1)
            self._know(who, what, slot)
            back[who, what, slot] = False

    def pending(self, time_h: Array) -> Ints:
        """Samples under way as far as the ward knows (a lost one never comes), shape (n, analytes)."""
        waiting = np.isfinite(self.taken) & (self.ready > time_h[:, None, None])
        return np.asarray((waiting & (self.taken > np.nan_to_num(self.drawn, nan=-np.inf)[:, :, None])).sum(axis=2))
