"""The outcome vector, gathered while patients are stepped. Every number and its source: ``outcomes.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from icans.intervene.world.bedside import Reader

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: Outputs of the model that outcomes read.
NEEDED = ("crs_severity", "encephalopathy", "car_blood", "TUM", "BCELL", "ANC", "iechs_drive", "SEIZ_HAZ", "steroid")
#: Hours after which CAR T cells and tumour count no more.
DAY_28 = 28.0 * 24.0
#: What is given to all and is no treatment of toxicity.
NOT_TREATMENT = ("car_t", "levetiracetam")


@cache
def table() -> dict[str, Any]:
    """The contents of ``outcomes.toml``."""
    return tomllib.loads((resources.files(__package__) / "outcomes.toml").read_text(encoding="utf-8"))


def meanings() -> dict[str, str]:
    """Outcome -> what it is."""
    return dict(table()["outcome"])


#: Assumptions that are other than in the table, for analyses of sensitivity (:func:`assuming`).
_CHANGED: ContextVar[tuple[tuple[str, float], ...]] = ContextVar("icans outcomes assumed", default=())


def parameters() -> dict[str, float]:
    """Values of the assumptions by name."""
    return {name: float(entry["value"]) for name, entry in table()["parameter"].items()} | dict(_CHANGED.get())


@contextmanager
def assuming(**values: float) -> Iterator[None]:
    """Within it, outcomes are computed with other values of some assumptions.

    Raises
    ------
    KeyError
        There is no such assumption.
    """
    for name in values:
        table()["parameter"][name]
    token = _CHANGED.set((*_CHANGED.get(), *values.items()))
    try:
        yield
    finally:
        _CHANGED.reset(token)


@dataclass
class Tally:
    """What was seen so far, each of shape (n,); ``icu`` is whether a patient is in intensive care by decision."""

    crs: Ints
    icans: Ints
    icans_2_h: Array
    icans_3_h: Array
    crs_2_h: Array
    icans_1_at: Array
    icans_2_at: Array
    icans_3_at: Array
    crs_2_at: Array
    treated_at: Array
    car_auc: Array
    car_before: Array
    tumour_0: Array
    tumour_low: Array
    tumour_now: Array
    bcell_0: Array
    aplasia_h: Array
    neutropenia_h: Array
    infections: Array
    icu_h: Array
    grade_4_ward: Mask
    extreme: Mask
    iechs: Mask
    hazard: Array
    icu: Mask

    @classmethod
    def begin(cls, values: dict[str, Array]) -> Tally:
        """At infusion, from the outputs :data:`NEEDED`, (n,) each."""
        n = len(values["TUM"])
        zero, never, no, none = np.zeros(n), np.full(n, np.nan), np.zeros(n, bool), np.zeros(n, np.int64)
        made: dict[str, Any] = {f.name: zero.copy() for f in fields(cls)}
        made |= {name: never.copy() for name in made if name.endswith("_at")}
        made |= {name: none.copy() for name in ("crs", "icans")}
        made |= {name: no.copy() for name in ("grade_4_ward", "extreme", "iechs", "icu")}
        made |= {name: values["TUM"].astype(float) for name in ("tumour_0", "tumour_low", "tumour_now")}
        made |= {"car_before": values["car_blood"].astype(float), "bcell_0": values["BCELL"].astype(float)}
        return cls(**made)

    def rows(self, chosen: Ints) -> Tally:
        """Copies of some patients' tallies."""
        return replace(self, **{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    def add(
        self, values: dict[str, Array], time_h: Array, step_h: float, mask: Mask, reader: Reader,
        icu_by_grade: bool = True,
    ) -> None:  # fmt: skip
        """One hour of the record: outputs (n,) each at ``time_h`` (n,); rows outside ``mask`` are left as they are.

        ``icu_by_grade``: whoever needs intensive care by grade has it; else only who is there by decision.
        """
        p = parameters()
        on = mask.astype(float) * step_h
        icans, crs = reader.icans(values["encephalopathy"]), reader.crs(values["crs_severity"])
        icans, crs = np.where(mask, icans, 0), np.where(mask, crs, 0)
        self.icans, self.crs = np.maximum(self.icans, icans), np.maximum(self.crs, crs)
        for name, seen in (("icans_2_h", icans >= 2), ("icans_3_h", icans >= 3), ("crs_2_h", crs >= 2)):
            setattr(self, name, getattr(self, name) + on * seen)
        for name, seen in (("icans_1_at", icans >= 1), ("icans_2_at", icans >= 2), ("icans_3_at", icans >= 3),
                           ("crs_2_at", crs >= 2)):  # fmt: skip
            first = seen & np.isnan(getattr(self, name))
            setattr(self, name, np.where(first, time_h, getattr(self, name)))
        intensive = (np.maximum(icans, crs) >= p["icu_grade"]) | self.icu
        self.icu_h = self.icu_h + on * intensive
        if not icu_by_grade:  # days count where care is needed, but a grade 4 may be left on the ward
            self.grade_4_ward = self.grade_4_ward | ((np.maximum(icans, crs) >= 4) & ~self.icu)
        self.extreme |= mask & reader.extreme(values["crs_severity"], values["encephalopathy"])
        self._cells(values, time_h, on, mask, p)
        self.iechs = self.iechs | (mask & (values["iechs_drive"] >= reader.iechs))
        self.hazard = np.where(mask, values["SEIZ_HAZ"], self.hazard)

    def _cells(self, values: dict[str, Array], time_h: Array, on: Array, mask: Mask, p: dict[str, float]) -> None:
        early = mask & (time_h <= DAY_28 + 1e-6)
        car, tumour = values["car_blood"], np.maximum(values["TUM"], 1e-12)
        self.car_auc = self.car_auc + np.where(early, on * 0.5 * (car + self.car_before) / 24.0, 0.0)
        self.car_before = np.where(mask, car, self.car_before)
        self.tumour_low = np.where(mask, np.minimum(self.tumour_low, tumour), self.tumour_low)
        self.tumour_now = np.where(early, tumour, self.tumour_now)
        self.aplasia_h = self.aplasia_h + on * (values["BCELL"] < p["bcell_share"] * self.bcell_0)
        neutropenic = values["ANC"] < p["anc_cut"]
        self.neutropenia_h = self.neutropenia_h + on * neutropenic
        rate = p["infection_per_day"] * np.where(neutropenic, p["infection_neutropenia"], 1.0)
        rate = rate * np.where(values["steroid"] >= p["steroid_acts"], p["infection_steroid"], 1.0)
        self.infections = self.infections + on / 24.0 * rate

    def put(self, rows: Ints, other: Tally) -> None:
        """Other patients in the place of some."""
        for f in fields(self):
            getattr(self, f.name)[rows] = getattr(other, f.name)

    def columns(
        self, reader: Reader, drugs: tuple[str, ...], doses_mg: Array, samples_usd: Array
    ) -> dict[str, npt.NDArray[Any]]:  # fmt: skip
        """The outcome vector by name, shape (n,) each."""
        p = parameters()
        given = {name: doses_mg[:, k] for k, name in enumerate(drugs)}
        zero = np.zeros(len(self.crs))
        steroid = given.get("dexamethasone", zero) + p["dex_per_methylprednisolone"] * given.get(
            "methylprednisolone", zero
        )
        reduction = np.log10(self.tumour_0 / np.maximum(self.tumour_now, 1e-12))
        made: dict[str, npt.NDArray[Any]] = {
            "max_icans_grade": self.icans, "days_icans_ge2": self.icans_2_h / 24.0,
            "days_icans_ge3": self.icans_3_h / 24.0, "max_crs_grade": self.crs, "days_crs_ge2": self.crs_2_h / 24.0,
            "iechs": self.iechs.astype(np.int64), "seizure": reader.seized(self.hazard).astype(np.int64),
            "car_auc_0_28": self.car_auc,
            "tumour_log10_reduction": np.log10(self.tumour_0 / np.maximum(self.tumour_low, 1e-12)),
            "response_probability": expit(p["response_slope"] * (reduction - p["response_middle"])),
            "bcell_aplasia_days": self.aplasia_h / 24.0, "infection_days": self.infections * p["infection_days_each"],
            "neutropenia_days": self.neutropenia_h / 24.0, "steroid_mg_dex_equivalent": steroid,
            "icu_days": self.icu_h / 24.0, "death_probability": self._death(p),
            "cost_usd": self._cost(given, samples_usd),
            "missed": (np.isfinite(self.icans_2_at) & ~(self.treated_at < self.icans_2_at)).astype(np.int64),
            "false_alarm": (np.isfinite(self.treated_at) & (self.crs < 2) & (self.icans < 1)).astype(np.int64),
        }  # fmt: skip
        made |= {f"dose_{name}": amount for name, amount in given.items() if name != "car_t"}
        return made

    def _death(self, p: dict[str, float]) -> Array:
        worst = np.maximum(self.crs, self.icans)
        fourth = np.where(self.grade_4_ward, p["death_grade_4_ward"], p["death_grade_4"])
        toxic = np.where(worst >= 4, fourth, 0.0)
        toxic = np.maximum(toxic, np.where(self.extreme, p["death_extreme"], 0.0))
        lived = (1.0 - toxic) * np.where(self.iechs, 1.0 - p["death_iechs"], 1.0)
        return np.asarray(1.0 - lived * np.exp(-p["death_per_infection"] * self.infections))

    def _cost(self, given: dict[str, Array], samples_usd: Array) -> Array:
        prices = table()["cost"]
        total = samples_usd + prices["icu_day"] * self.icu_h / 24.0
        for name, amount in given.items():
            total = total + amount * float(prices.get(f"{name}_mg", 0.0))
        return np.asarray(total)
