"""What was found at the bedside in one period (usually a day), and the grade that follows from it.

Three things that are not zero are kept apart: *missing* (nobody wrote it down), *sedated* (could not be
assessed) and *excluded* (judged not attributable, or set aside by a rule). The first two make a grade a
lower bound; the third does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from icans.cohort import vocabulary
from icans.core.errors import GradingError

State = Literal["graded", "partial", "missing", "sedated", "excluded"]
Value = float | bool | frozenset[str]

YES = frozenset({"yes", "true", "1"})
NO = frozenset({"no", "false", "0"})

#: Grade of a death that the toxicity caused, in every scheme.
DEATH = 5.0


@dataclass(frozen=True)
class Findings:
    """Findings of one period.

    Attributes
    ----------
    values
        Item to value: a float, a bool, or the set of words found in the period (choices). Absent: missing.
    not_attributable
        Items that were found and judged to have another cause; they have no entry in ``values``.
    age_y, developmental_delay
        Decide between ICE and CAPD.
    seizure_history
        Seizures before the infusion (CTCAE 5.0 asks whether a seizure is of new onset).
    baseline
        Item to value before the infusion, e.g. ``{"ice_total": 9}``.
    incomplete
        Part of the period could not be assessed; every grade of the period is then a lower bound.
    """

    values: Mapping[str, Value] = field(default_factory=dict)
    not_attributable: frozenset[str] = frozenset()
    age_y: float | None = None
    developmental_delay: bool | None = None
    seizure_history: bool | None = None
    baseline: Mapping[str, float] = field(default_factory=dict)
    incomplete: bool = False

    def number(self, item: str) -> float | None:
        """The number found, or None."""
        value = self.values.get(item)
        return None if value is None else float(value)  # type: ignore[arg-type]

    def flag(self, item: str) -> bool | None:
        """Yes, no, or None (missing)."""
        value = self.values.get(item)
        return None if value is None else bool(value)

    def words(self, item: str) -> frozenset[str]:
        """The words found for a choice; empty when missing."""
        value = self.values.get(item, frozenset())
        return value if isinstance(value, frozenset) else frozenset()

    def has(self, *items: str) -> bool:
        """Whether any of the items was found."""
        return any(item in self.values for item in items)

    def excluded(self, *items: str) -> bool:
        """Whether any of the items was judged to have another cause and none is left to grade."""
        return not self.has(*items) and any(item in self.not_attributable for item in items)


def findings(
    *,
    age_y: float | None = None,
    developmental_delay: bool | None = None,
    seizure_history: bool | None = None,
    baseline: Mapping[str, float] | None = None,
    not_attributable: Iterable[str] = (),
    incomplete: bool = False,
    **items: object,
) -> Findings:
    """Findings from plain values, checked against the item vocabulary.

    A choice may be one word or several; yes/no items take bools or ``"yes"``/``"no"``; None means missing.

    Raises
    ------
    GradingError
        An item that the vocabulary does not have, or a value that the item cannot take.

    Examples
    --------
    >>> findings(ice_total=8, seizure="none").number("ice_total")
    8.0
    """
    excluded = frozenset(not_attributable)
    for item in [*items, *excluded]:
        _known(item)
    values = {
        item: read_value(item, value) for item, value in items.items() if value is not None and item not in excluded
    }
    return Findings(
        values, excluded, age_y, developmental_delay, seizure_history, dict(baseline or {}), incomplete
    )  # fmt: skip


def read_value(item: str, value: object) -> Value:
    """A value as the vocabulary wants it; GradingError when it cannot be."""
    entry = _known(item)
    if entry.kind == "choice":
        words = frozenset([value] if isinstance(value, str) else value)  # type: ignore[call-overload]
        strange = sorted(words - set(entry.allowed))
        if strange:
            raise GradingError(f"item {item!r} cannot be {strange}; it is one of {list(entry.allowed)}")
        return words
    if entry.kind == "yesno":
        word = str(value).strip().lower()
        if word not in YES | NO:
            raise GradingError(f"item {item!r} cannot be {value!r}; it is yes or no")
        return word in YES
    return _read_number(entry, value)


def _read_number(entry: vocabulary.Item, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise GradingError(f"item {entry.name!r} cannot be {value!r}; it is a number") from None
    low = -np.inf if entry.low is None else entry.low
    high = np.inf if entry.high is None else entry.high
    whole = entry.kind != "integer" or number == int(number) if np.isfinite(number) else False
    if not (low <= number <= high) or not whole:
        kind = "a whole number" if entry.kind == "integer" else "a number"
        raise GradingError(f"item {entry.name!r} cannot be {value!r}; it is {kind} from {low:g} to {high:g}")
    return number


def _known(item: str) -> vocabulary.Item:
    known = vocabulary.items()
    if item not in known:
        raise GradingError(f"unknown item {item!r}{vocabulary.near(item, known)}")
    return known[item]


@dataclass(frozen=True)
class Domain:
    """What one domain says.

    ``grade`` is None unless the state is graded or partial. ``partial``: some of it is missing, the grade is
    at least this. ``ceiling`` is the highest grade that the domain can give under the scheme.
    """

    name: str
    grade: float | None
    state: State = "graded"
    ceiling: float = 4.0
    note: str = ""


@dataclass(frozen=True)
class Grade:
    """A grade and why.

    ``grade`` is None when nothing can be said. ``lower_bound`` is true when something that was missing could
    still raise it. ``adjusted`` is the grade after allowing for deficits that were there before infusion
    (equal to ``grade`` where there is no baseline).
    """

    scheme: str
    toxicity: str
    grade: float | None
    lower_bound: bool = False
    deciding: tuple[str, ...] = ()
    domains: Mapping[str, float | None] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    adjusted: float | None = None


def worst(
    scheme: str,
    toxicity: str,
    domains: Iterable[Domain],
    *,
    died: bool,
    incomplete: bool = False,
    flags: frozenset[str] = frozenset(),
    notes: tuple[str, ...] = (),
) -> Grade:
    """The worst attributable domain wins; death from the toxicity is grade 5."""
    domains = tuple(domains)
    by_name = {d.name: d.grade for d in domains}
    said = notes + tuple(f"{d.name}: {d.note}" for d in domains if d.note)
    if died:
        return Grade(scheme, toxicity, DEATH, False, ("death",), by_name, flags, said, DEATH)
    graded = [d for d in domains if d.grade is not None]
    open_domains = [d for d in domains if d.state in ("partial", "missing", "sedated")]
    if not graded:
        return Grade(scheme, toxicity, None, bool(open_domains), (), by_name, flags, said, None)
    top = max(d.grade for d in graded if d.grade is not None)
    deciding = tuple(d.name for d in graded if d.grade == top and top > 0)
    ceiling = max(d.ceiling for d in domains)
    lower_bound = any(d.ceiling > top for d in open_domains) or (incomplete and top < ceiling)
    return Grade(scheme, toxicity, top, lower_bound, deciding, by_name, flags, said, top)


def domain_from_words(
    name: str, found: Findings, item: str, table: Mapping[str, float], *, ceiling: float | None = None
) -> Domain:
    """A domain that one choice decides: the worst of the words found, by a table of grades."""
    top = max(table.values()) if ceiling is None else ceiling
    if found.excluded(item):
        return Domain(name, None, "excluded", top, "judged not attributable")
    words = found.words(item)
    if not words:
        return Domain(name, None, "missing", top)
    return Domain(name, max(table[word] for word in words), "graded", top)
