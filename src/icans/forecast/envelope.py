"""What a model has seen: places, products, assays, ranges; and what is new about a patient who is asked about.

A model that meets a product, a site or an assay it has not learned from still gives a number. The envelope is what
the training cohort looked like, kept beside the model, so that each such number comes with the reasons why it may be
wrong, and with a wider interval (:func:`widened`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.cohort.cohort import Cohort
from icans.core.errors import Problem
from icans.forecast.features import analyte_keys
from icans.forecast.integrate.modalities import availability
from icans.forecast.ridge import expit, log_odds

Floats = NDArray[np.float64]
Kind = Literal["group", "landmark", "modality", "assay", "range", "missing", "size"]

#: Columns of the patients table whose values name groups with a level of their own.
GROUPS = ("product", "site", "disease", "costimulation")
#: Quantiles of the training values that bound what counts as seen, and those used for what a result would add.
OUTER, INNER = (0.0, 1.0), (0.1, 0.5, 0.9)
#: Fewest patients and events from which a model is worth keeping: below, a Wilson interval of the incidence alone is
#: wider than 0.4, and five folds cannot hold an event each.
LEAST_PATIENTS, LEAST_EVENTS = 20, 5
#: z of the 95 % interval that forecasts carry.
Z95 = 1.959963984540054


@cache
def unseen_sd(column: str) -> float:
    """SD (log odds) of a level of ``column`` that was never seen, from published incidences (``novelty.toml``).

    A product, or what goes with it (disease, costimulation), is as new as a product; all else as another centre.
    """
    text = resources.files("icans.forecast").joinpath("novelty.toml").read_text(encoding="utf-8")
    name = "between_product_sd" if column in ("product", "disease", "costimulation") else "between_site_sd"
    return float(tomllib.loads(text)[name])


@dataclass(frozen=True, slots=True)
class Note:
    """One reason for caution about a forecast: of which kind, about what, in words, and its SD in log odds."""

    kind: Kind
    about: str
    text: str
    sd: float = 0.0


@dataclass(frozen=True)
class Envelope:
    """What the training cohort looked like.

    Attributes
    ----------
    patients, events
        Number of patients, and of those with the event.
    groups
        Values seen of each column of :data:`GROUPS`.
    group_sd
        SD (log odds) between the values of each column, where it could be estimated.
    assays, units
        Assays seen of each analyte (empty where none is named), and its unit.
    landmarks_h
        First and last landmark.
    modalities
        Share of rows that had each modality.
    quantiles
        Quantiles of each numeric feature: OUTER then INNER, five numbers.
    """

    patients: int
    events: int
    groups: dict[str, tuple[str, ...]]
    group_sd: dict[str, float]
    assays: dict[str, tuple[str, ...]]
    units: dict[str, str]
    landmarks_h: tuple[float, float]
    modalities: dict[str, float]
    quantiles: dict[str, tuple[float, ...]]

    @classmethod
    def of(
        cls, cohort: Cohort, table: pd.DataFrame, outcome: pd.DataFrame, group_sd: Mapping[str, float] | None = None
    ) -> Envelope:
        """The envelope of a training cohort, its feature table and outcome."""
        seen = outcome["patient_id"].unique()
        patients = cohort.patients[cohort.patients["patient_id"].isin(seen)]
        groups = {c: tuple(sorted(map(str, patients[c].dropna().unique()))) for c in GROUPS}
        rows = cohort.measurements.dropna(subset=["assay"])
        named = rows.assign(key=analyte_keys(rows)).groupby("key")["assay"].unique()
        levels = np.array([*OUTER, *INNER])
        numeric = table.select_dtypes("number")
        found = {name: numeric[name].to_numpy(dtype=float) for name in numeric.columns}
        return cls(
            patients=len(seen),
            events=int(outcome.loc[outcome["event"] == 1, "patient_id"].nunique()),
            groups=groups,
            group_sd=dict(group_sd or {}),
            assays={str(name): tuple(sorted(map(str, values))) for name, values in named.items()},
            units=_units(cohort),
            landmarks_h=(float(outcome["landmark_h"].min()), float(outcome["landmark_h"].max())),
            modalities={name: float(share) for name, share in availability(table).mean().items()},
            quantiles={
                name: tuple(np.nanquantile(values, levels).tolist())
                for name, values in found.items()
                if not np.isnan(values).all()
            },
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Envelope:
        """The inverse of :meth:`as_dict`; ValueError for what is none."""
        from pydantic import TypeAdapter

        return TypeAdapter(cls).validate_python(dict(value))

    def notes_of(self, cohort: Cohort, table: pd.DataFrame, used: Sequence[str]) -> list[tuple[Note, ...]]:
        """What is new about each patient, in the rows' order.

        Parameters
        ----------
        cohort
            The patients as known at the landmark.
        table
            Their feature table at one landmark.
        used
            Features that the model uses.
        """
        if not len(table):
            return []
        landmark = float(table.index.get_level_values("landmark_h")[0])
        common = [*self._size(), *self._landmark(landmark)]
        groups, assays = self._new_groups(cohort), self._new_assays(cohort)
        modalities, ranges, missing = (
            self._new_modalities(table),
            self._out_of_range(table, used),
            self._missing(table, used),
        )
        return [
            (*common, *groups.get(p, ()), *assays.get(p, ()), *modalities[k], *ranges[k], *missing[k])
            for k, p in enumerate(table.index.get_level_values("patient_id"))
        ]

    def unit_problems(self, cohort: Cohort) -> list[Problem]:
        """Analytes of a cohort in another unit than the model has learned."""
        return [
            Problem(
                "measurements", None, name, unit, f"unit {self.units[name]!r}", "Convert it, or harmonise the cohort."
            )
            for name, unit in _units(cohort).items()
            if name in self.units and unit != self.units[name]
        ]

    def _size(self) -> list[Note]:
        if self.patients >= 100 and self.events >= 20:
            return []
        said = f"the model has learned from {self.patients} patients and {self.events} events only"
        return [Note("size", "training", said)]

    def _landmark(self, landmark_h: float) -> list[Note]:
        low, high = self.landmarks_h
        if low <= landmark_h <= high:
            return []
        said = (
            f"forecast made on day {landmark_h / 24:g}; the model has learned from days {low / 24:g} to {high / 24:g}"
        )
        return [Note("landmark", "day", said, unseen_sd("site"))]

    def _new_groups(self, cohort: Cohort) -> dict[str, list[Note]]:
        found: dict[str, list[Note]] = {}
        for column, seen in self.groups.items():
            values = cohort.patients.set_index("patient_id")[column].dropna().astype(str)
            what = (
                f"it has seen {', '.join(seen)}" if seen else f"it was trained without knowing any patient's {column}"
            )
            for patient, value in values[~values.isin(seen)].items():
                mine = found.setdefault(str(patient), [])
                if column == "costimulation" and any(note.about == "product" for note in mine):
                    continue  # a new product's costimulation is not a novelty of its own
                said = f"{column} {value!r} is new to the model; {what}"
                mine.append(Note("group", column, said, self.group_sd.get(column, unseen_sd(column))))
        return found

    def _new_assays(self, cohort: Cohort) -> dict[str, list[Note]]:
        rows = cohort.measurements.dropna(subset=["assay"])
        rows = rows.assign(key=analyte_keys(rows))
        found: dict[str, list[Note]] = {}
        for (patient, analyte), values in rows.groupby(["patient_id", "key"])["assay"]:
            seen = self.assays.get(str(analyte), ())
            new = sorted(set(map(str, values)) - set(seen))
            if seen and new:
                said = f"{analyte} was measured by {', '.join(new)}; the model has seen {', '.join(seen)}"
                found.setdefault(str(patient), []).append(Note("assay", str(analyte), said, unseen_sd("assay")))
        return found

    def _new_modalities(self, table: pd.DataFrame) -> list[list[Note]]:
        has = availability(table)
        never = [name for name in has.columns if self.modalities.get(str(name), 0.0) == 0.0]
        said = {name: f"the model was never trained on {name} data; they play no part" for name in never}
        return [[Note("modality", str(n), said[n]) for n in never if row[n]] for row in has.to_dict("records")]

    def _out_of_range(self, table: pd.DataFrame, used: Sequence[str]) -> list[list[Note]]:
        notes: list[list[Note]] = [[] for _ in range(len(table))]
        there = set(table.columns)
        names = [n for n in used if n != "day" and n in self.quantiles and n in there]
        numbers = _numbers(table, names)
        for name, value in zip(names, numbers.T, strict=True):
            low, high = self.quantiles[name][:2]
            about = ".".join(name.split(".")[:2])  # one note for all columns of an analyte
            for k in np.flatnonzero((value < low) | (value > high)).tolist():
                if all(note.about != about for note in notes[k]):
                    said = f"{name} = {value[k]:.4g} lies outside what training saw ({low:.4g} to {high:.4g})"
                    notes[k].append(Note("range", about, said, unseen_sd("range")))
        return notes

    def _missing(self, table: pd.DataFrame, used: Sequence[str]) -> list[list[Note]]:
        there = set(table.columns)
        known = [n for n in used if n in self.quantiles and n in there]
        gone = table[known].isna().to_numpy()
        notes: list[list[Note]] = []
        for row in gone:
            names = [name for name, absent in zip(known, row, strict=True) if absent]
            said = f"{len(names)} of {len(known)} features are missing and count as typical of the training patients"
            notes.append([Note("missing", ", ".join(names), said)] if names else [])
        return notes


def _numbers(table: pd.DataFrame, names: list[str]) -> Floats:
    """Columns as numbers, shape (rows, names); what is no number is missing."""
    mine = table[names]
    try:
        return mine.to_numpy(dtype=float)
    except (TypeError, ValueError):
        return mine.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)


def _units(cohort: Cohort) -> dict[str, str]:
    """Unit of each analyte, of those with one unit."""
    rows = cohort.measurements.dropna(subset=["unit"])
    units = rows.assign(key=analyte_keys(rows)).groupby("key")["unit"].unique()
    return {str(name): str(found[0]) for name, found in units.items() if len(found) == 1}


def widened(
    risk: Floats, low: Floats, high: Floats, notes: Sequence[Sequence[Note]]
) -> tuple[Floats, Floats]:  # fmt: skip
    """Intervals with the SDs of the notes added to their own, on the scale of log odds; one entry for each patient.

    Kinds of novelty are taken as independent, and of notes of one kind the largest counts: ten features beyond the
    range of one extreme patient are one novelty. Without bounds (NaN) the notes alone make the interval, and without
    either it stays unknown.
    """
    extra = np.array([total_sd(mine) for mine in notes], dtype=float)
    at, reach = log_odds(risk), Z95 * extra
    below = np.hypot(np.nan_to_num(np.maximum(at - log_odds(low), 0.0)), reach)
    above = np.hypot(np.nan_to_num(np.maximum(log_odds(high) - at, 0.0)), reach)
    new = extra > 0
    # A bound on the far side of the risk (a bootstrap interval need not hold it) is never drawn in.
    return (
        np.where(new, np.fmin(low, expit(at - below)), low),
        np.where(new, np.fmax(high, expit(at + above)), high),
    )


def total_sd(notes: Sequence[Note]) -> float:
    """SD in log odds of all notes together; see :func:`widened`."""
    largest: dict[str, float] = {}
    for note in notes:
        key = note.about if note.kind == "group" else note.kind
        largest[key] = max(largest.get(key, 0.0), note.sd)
    return float(np.sqrt(sum(sd**2 for sd in largest.values())))
