"""The loop itself, for many patients at once: actions in, what the ward knows and the outcome vector out.

Environments (:mod:`.env`) and policies (:mod:`.policies`) stand on it. What a policy may see is a :class:`Chart`; the
truth is in :meth:`Ward.truth` and never in a chart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.core.random import stream
from icans.intervene.loop import menu as menus
from icans.intervene.loop.menu import Actions, Limits, Menu, doses_of, make_menu
from icans.intervene.world import ANALYTES, Assays, Cast, Observation, World, cast, make_world, read_assays
from icans.mechanism.patient import patient_model
from icans.population.products import tables as products

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: Drugs of the menu where none are named, and the switch.
DRUGS = ("tocilizumab", "dexamethasone", "methylprednisolone", "anakinra")
#: Levers that a mismatch of the model moves.
LEVERS = ("growth", "release", "myeloid", "brain", "circulation", "fever")
#: Numbers of a patient in one episode and the next lie so far apart.
EPISODE = 1_000_003


@dataclass(frozen=True)
class Settings:
    """What a loop is. Arguments of the environment.

    Attributes
    ----------
    product, disease
        The calibrated population that patients come from.
    step_h, horizon_d
        Hours between decisions, days of an episode.
    drugs, switch
        What is on the menu, see ``menu.toml``.
    assays
        The laboratory; :func:`icans.intervene.world.read_assays`.
    weights
        Changes of the weights of the loss.
    mismatch
        SD (ln) by which each lever of the patients' biology differs, for all of them alike, from what the calibrated
        model says: the world is then another one than that which forecasts and plans were made with.
    start_h
        Hours from which on doses, switch and transfers are carried out; before, they are refused.
    deaths
        Whether patients die during an episode, by their probability of death (it then ends).
    pool, seed, first
        Virtual patients from whom episodes draw, the seed of their population, the number of the first.
    rtol
        Tolerance of the solver: with 1e-3 the loss of an episode is off by less than 0.001 (``benchmarks/loop.py``).
    threads
        Threads of the solver.
    """

    product: str = "axi-cel"
    disease: str = "LBCL"
    step_h: float = 6.0
    horizon_d: float = 28.0
    drugs: tuple[str, ...] = DRUGS
    switch: str | None = "dasatinib"
    assays: Assays | None = None
    weights: Mapping[str, float] | None = None
    mismatch: float = 0.0
    start_h: float = 0.0
    deaths: bool = False
    pool: int = 256
    seed: int = 1
    first: int = 1
    rtol: float = 1e-3
    threads: int = 1

    def check(self) -> None:
        """Refuse what makes no sense, all of it at once."""
        problems = [
            Problem("loop", None, name, repr(getattr(self, name)), expected, "Correct it.")
            for name, good, expected in (
                ("step_h", 0 < self.step_h <= 48, "hours above 0, at most 48"),
                ("horizon_d", 0 < self.horizon_d <= 42, "days above 0, at most 42"),
                ("mismatch", 0 <= self.mismatch <= 1, "0 to 1"),
                ("start_h", self.start_h >= 0, "hours, at least 0"),
                ("pool", self.pool >= 1, "a whole number from 1"),
            )
            if not good
        ]
        if not problems and abs(self.horizon_d * 24.0 / self.step_h % 1.0) > 1e-9:
            problems.append(Problem("loop", None, "step_h", repr(self.step_h),
                                    f"a whole part of {self.horizon_d:g} days", "Choose 1, 6, 12 or 24."))  # fmt: skip
        if problems:
            raise ModelError(problems)

    @property
    def steps(self) -> int:
        """Steps of an episode."""
        return round(self.horizon_d * 24.0 / self.step_h)


@dataclass(frozen=True)
class Chart:
    """All that a policy may see: the observation, what the limits allow, body weights, the menu, the time."""

    seen: Observation
    allowed: Mask
    switched: Mask
    may_switch: Mask
    weight_kg: Array
    menu: Menu
    limits: Limits
    step_h: float
    horizon_d: float

    def __len__(self) -> int:
        return len(self.seen)

    def within(self, actions: Actions) -> tuple[Ints, Array, Mask, Limits]:
        """What the limits leave of actions: levels and their mg (n, items), use of the switch (n,), limits after."""
        limits = self.limits.rows(np.arange(len(self)))
        wanted = np.where(self.allowed, actions.doses, 0)
        levels, mg = limits.take(self.menu, wanted, self.seen.time_h, self.weight_kg)
        switch = actions.switch & self.may_switch
        limits.switched = limits.switched | switch
        return levels, mg, switch, limits


@dataclass(frozen=True)
class Done:
    """What came of an action: levels given after the limits and their mg, doses refused, samples drawn."""

    levels: Ints
    mg: Array
    refused: Ints
    drawn: Mask
    switch: Mask


class Ward:
    """Patients in the loop; all rows may be at different hours."""

    def __init__(self, settings: Settings, patients: Cast | None = None) -> None:
        settings.check()
        self.settings = settings
        self.menu = make_menu(settings.drugs, settings.switch)
        self.weights = menus.weights(settings.weights)
        self.people = patients if patients is not None else draw_people(settings, self.menu.drugs)
        self.origin = make_world(
            self.people, drugs=self.menu.drugs, rtol=settings.rtol, seed=settings.seed,
            assays=settings.assays or read_assays(), threads=settings.threads, icu_by_grade=False,
        )  # fmt: skip
        self.world = self.origin
        self.begin(np.arange(len(self.people)))

    def begin(self, rows: npt.ArrayLike, episodes: npt.ArrayLike = 0) -> Chart:
        """Patients of the pool at infusion, one per row; the same patient in another episode has other errors."""
        at = np.asarray(rows, dtype=np.int64)
        numbers = self.people.numbers[at] + EPISODE * np.broadcast_to(np.asarray(episodes, np.int64), at.shape)
        self.world = self.origin.branch(at, numbers)
        self.limits = Limits.none(len(at), self.menu)
        self.who = at.copy()
        self.loss = self._loss()
        return self.chart()

    def replace(self, mask: Mask, rows: Ints, episodes: Ints) -> None:
        """New patients in the rows of ``mask``."""
        at = np.flatnonzero(mask)
        numbers = self.people.numbers[rows] + EPISODE * episodes
        self.world.put(at, self.origin.branch(rows, numbers))
        self.limits.forget(at)
        self.who[at] = rows
        self.loss = np.where(mask, self._loss(), self.loss)

    def __len__(self) -> int:
        return len(self.world)

    def chart(self) -> Chart:
        """What may be seen now."""
        clock = self.world.clock_h
        begun = clock >= self.settings.start_h - 1e-6
        free = begun & ~self.limits.switched & (self.menu.switch is not None)
        self.seen = Chart(
            self.world.observe(), self.limits.allowed(self.menu, clock) & begun[:, None], self.limits.switched.copy(),
            free, self.world.weight_kg, self.menu, self.limits, self.settings.step_h, self.settings.horizon_d,
        )  # fmt: skip
        return self.seen

    def step(self, actions: Actions) -> tuple[Array, Done]:
        """Carry out actions and go on for a step.

        Returns
        -------
        Reward of each patient (what the loss fell by), and what came of the actions.
        """
        clock = self.world.clock_h
        levels, mg, switch, self.limits = self.seen.within(actions)
        drawn = self.world.order(actions.assays)
        self.world.eeg(actions.eeg)
        self.world.transfer(actions.icu & (clock >= self.settings.start_h - 1e-6))
        entries = self.world.rules.solver.entries
        doses = doses_of(self.menu, entries, self.world.weight_kg, clock, levels, switch)
        self.world.step(self.settings.step_h, doses)
        before, self.loss = self.loss, self._loss()
        refused = ((actions.doses > 0) & (levels == 0)).sum(axis=1)
        return before - self.loss, Done(levels, mg, refused, drawn, switch)

    def _loss(self) -> Array:
        return loss(self.world, self.weights)

    def over(self) -> Mask:
        """Who has reached the end of the episode, shape (n,)."""
        return np.asarray(self.world.clock_h >= self.settings.horizon_d * 24.0 - 1e-6)

    def died(self) -> Mask:
        """Who has died by now, where patients do; by a chance that is the patient's in this episode."""
        if not self.settings.deaths:
            return np.zeros(len(self), dtype=bool)
        from icans.intervene.world import chance

        fate = chance.uniforms(chance.key(self.settings.seed, "fate"), self.world.numbers, 0)
        return np.asarray(fate < self.world.outcome_columns()["death_probability"])

    def truth(self) -> dict[str, Array]:
        """Ground truth for ``info``: latent severities, cells, tumour, barrier; shape (n,) each."""
        names = ("encephalopathy", "crs_severity", "car_blood", "TUM", "iechs_drive")
        return dict(zip(names, self.world.truth(*names).T))


def loss(world: World, weights: Mapping[str, float]) -> Array:
    """Weighted sum of the outcome vector so far, shape (n,)."""
    found = world.outcome_columns()
    return np.asarray(sum(w * found[name] for name, w in weights.items()), dtype=float)


def draw_people(settings: Settings, drugs: Sequence[str]) -> Cast:
    """The pool of patients, with the mismatch that was asked for."""
    made = cast(settings.pool, settings.product, settings.disease, settings.seed, drugs=drugs, first=settings.first)
    return mismatched(made, settings.mismatch, settings.seed, drugs) if settings.mismatch > 0 else made


def mismatched(people: Cast, sd: float, seed: int, drugs: Sequence[str]) -> Cast:
    """The same patients in a world whose levers differ from the calibrated ones, all patients alike; within bounds."""
    rows = patient_model(drugs, regions=("brain",)).parameters
    table = people.parameters.copy()
    for lever in LEVERS:
        factor = float(np.exp(sd * stream(seed, "loop", "mismatch", lever).standard_normal()))
        for name in products()["lever"][lever]["parameters"]:
            table[name] = np.clip(table[name] * factor, rows[name].lower, rows[name].upper)
    return Cast(table, people.covariates, people.doses, people.numbers)


def no_orders(n: int) -> Mask:
    """No sample, shape (n, analytes)."""
    return np.zeros((n, len(ANALYTES)), dtype=bool)


def settings_from(arguments: Mapping[str, Any]) -> Settings:
    """Settings from plain arguments; lists become tuples.

    Raises
    ------
    ModelError
        Arguments that there are not.
    """
    from icans.mechanism.parameters import unknown

    known = Settings.__dataclass_fields__
    problems = [unknown("argument of the loop", name, known) for name in arguments if name not in known]
    if problems:
        raise ModelError(problems)
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
    return Settings(**given)
