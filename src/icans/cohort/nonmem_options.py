"""What the columns of a NONMEM-style data set mean: a file of numbers does not say it itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from icans.cohort import schema
from icans.cohort.vocabulary import Analyte, extended
from icans.core.times import TIME_UNITS_H

#: Columns with a meaning of their own, in the order in which they are written. ``SUBJID`` is ours: the patient's
#: name where it is not a number.
RESERVED = (
    "ID", "SUBJID", "TIME", "EVID", "MDV", "AMT", "RATE", "DUR",
    "CMT", "DV", "DVID", "CENS", "LIMIT", "ADDL", "II", "SS",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Observed:
    """What an observation is: analyte, unit as it stands in the file, matrix (missing: the analyte's usual one)."""

    analyte: str
    unit: str | None = None
    matrix: str | None = None


@dataclass(frozen=True, slots=True)
class Dosed:
    """What a dose is: drug, unit of AMT, route."""

    drug: str
    unit: str | None = None
    route: str | None = None


@dataclass(frozen=True)
class NonmemOptions:
    """How to read (and write) one kind of data set.

    Parameters
    ----------
    observed
        What DV is: one :class:`Observed`, or one for each value of ``observed_by``, keyed by its text.
    dosed
        What AMT is: one :class:`Dosed`, or one for each CMT of dose records, keyed by its text.
    observed_by
        The column that tells observations apart.
    time_unit
        Unit of TIME, II and DUR (RATE is per this unit): s, min, h, d or wk.
    covariates
        Further columns: to ``"patients.COLUMN"`` (constant in a patient) or to an analyte, which becomes a
        measurement at the patient's first record and whenever the column changes.
    codes
        For a covariate column, the text of the file as the text of the cohort, e.g. ``{"SEX": {"0": "male"}}``.
    ignore
        Columns that are set aside; each gets a row in ``changes``. Any other column is a problem.
    missing
        Texts that mean a missing value.
    classic_evid
        EVID of RxODE's classic form (100 x CMT + 1, e.g. 101, is a bolus into compartment 1).
    resets
        EVID 3 and 4 after the first record: ``"refuse"``, or ``"split"`` to make what follows a patient of
        its own (``7/2``), because a cohort has no way to empty a patient.
    steady_state_doses
        Write SS=1 out as that many earlier doses, II apart; an approximation, recorded in ``changes``. None
        refuses SS=1.
    extra_analytes
        Analytes beside the vocabulary, e.g. concentrations of a study drug.
    """

    observed: Observed | Mapping[str, Observed]
    dosed: Dosed | Mapping[str, Dosed]
    observed_by: Literal["DVID", "CMT"] = "DVID"
    time_unit: str = "h"
    covariates: Mapping[str, str] = field(default_factory=dict)
    codes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    missing: tuple[str, ...] = (".", "")
    classic_evid: bool = False
    resets: Literal["refuse", "split"] = "refuse"
    steady_state_doses: int | None = None
    extra_analytes: Mapping[str, Analyte] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse options that mean nothing (ValueError)."""
        if self.time_unit not in TIME_UNITS_H:
            raise ValueError(f"time_unit must be one of {list(TIME_UNITS_H)}; got {self.time_unit!r}")
        if self.observed_by not in ("DVID", "CMT"):
            raise ValueError(f"observed_by must be 'DVID' or 'CMT'; got {self.observed_by!r}")
        if self.resets not in ("refuse", "split"):
            raise ValueError(f"resets must be 'refuse' or 'split'; got {self.resets!r}")
        if self.steady_state_doses is not None and self.steady_state_doses < 1:
            raise ValueError(f"steady_state_doses must be 1 or more; got {self.steady_state_doses}")
        known = extended(self.extra_analytes)
        for entry in self.all_observed():
            if entry.analyte not in known:
                raise ValueError(f"observed analyte {entry.analyte!r} is neither in the vocabulary nor extra")
        for column, target in self.covariates.items():
            table, _, name = target.rpartition(".")
            in_patients = table == "patients" and name in schema.PATIENTS.names and name != "patient_id"
            if not in_patients and target not in known:
                raise ValueError(f"covariate {column!r}: {target!r} is neither patients.COLUMN nor an analyte")

    def all_observed(self) -> list[Observed]:
        """Every kind of observation."""
        return [self.observed] if isinstance(self.observed, Observed) else list(self.observed.values())

    def analyte(self, name: str) -> Analyte:
        """An analyte of the vocabulary or of these options."""
        return extended(self.extra_analytes)[name]

    def matrix(self, entry: Observed) -> str:
        """The matrix of an observation."""
        return entry.matrix or self.analyte(entry.analyte).matrix

    @property
    def hours(self) -> float:
        """Hours in one unit of TIME."""
        return TIME_UNITS_H[self.time_unit]

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> NonmemOptions:
        """Options from plain values, as a study file holds them.

        ``observed`` and ``dosed`` are tables (one entry, or entries by key); ``extra_analytes`` a table of
        tables with the keys of the vocabulary.
        """
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(value) - known)
        if unknown:
            raise ValueError(f"unknown options {unknown}; there are {sorted(known)}")
        given = dict(value)
        given["observed"] = _entries(given.get("observed"), Observed, "analyte")
        given["dosed"] = _entries(given.get("dosed"), Dosed, "drug")
        for key in ("ignore", "missing"):
            if key in given:
                given[key] = tuple(given[key])
        extra = {}
        for name, entry in given.get("extra_analytes", {}).items():
            lists = {key: tuple(entry.get(key, ())) for key in ("loinc", "also")}
            extra[name] = Analyte(name=name, **{**entry, **lists})
        return cls(**{**given, "extra_analytes": extra})


def _entries(value: Any, kind: type, key: str) -> Any:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"{kind.__name__.lower()} must be a table with {key!r}, or such tables by key")
    if key in value:
        return kind(**value)
    return {str(k): entry if isinstance(entry, kind) else kind(**entry) for k, entry in value.items()}
