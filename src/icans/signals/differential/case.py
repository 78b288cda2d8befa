"""What is known of a patient, in the words of the table, and the rules that come before any odds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from icans.core.errors import DataError, Problem
from icans.signals.differential.table import cut, evidence, priors

#: What takes a case out of this differential: it must be looked for and treated first, whatever the odds.
RED_FLAGS = {
    "haemorrhage": "intracranial haemorrhage explains the finding; neither ICANS nor TIAN is graded with it",
    "stroke": "an infarct on imaging explains the finding",
    "progression": "growth of the tumour itself is proven",
}


@dataclass(frozen=True)
class Case:
    """One patient at one time.

    Attributes
    ----------
    setting
        ``no_tumour``, ``tumour_systemic`` or ``tumour_local``; None: not known.
    findings
        Finding to state, names of the table. What was not looked for is left out: absent is not "no".
    red_flags
        Of :data:`RED_FLAGS`.
    cells_given
        Whether immune effector cells were infused; without them neither ICANS, TIAN nor IEC-HS is meant.
    """

    setting: str | None
    findings: Mapping[str, str] = field(default_factory=dict)
    red_flags: tuple[str, ...] = ()
    cells_given: bool = True

    def __post_init__(self) -> None:
        problems = []
        known = evidence()
        if self.setting is not None and self.setting not in priors():
            problems.append(_unknown("setting", self.setting, priors()))
        for name, state in self.findings.items():
            if name not in known:
                problems.append(_unknown("finding", name, known))
            elif state not in known[name].states:
                problems.append(_unknown(name, state, known[name].states))
        problems += [_unknown("red flag", flag, RED_FLAGS) for flag in self.red_flags if flag not in RED_FLAGS]
        if self.setting == "no_tumour":
            placed = [n for n, s in self.findings.items() if s in ("at_tumour", "focal_at_tumour")]
            placed += [n for n, s in self.findings.items() if (n, s) == ("mri", "both")]
            for name in placed:
                expected = "a setting with a tumour"
                problems.append(Problem("case", None, name, self.findings[name], expected, "Correct one of the two."))
        if problems:
            raise DataError(problems)


def _unknown(what: str, value: str, known: Mapping[str, object]) -> Problem:
    return Problem("case", None, what, value, f"one of {', '.join(known)}", "Use the words of the table.")


def setting_of(*, cns_tumour: bool | None, local_cells: bool | None) -> str | None:
    """The setting from whether there is a tumour of the nervous system and how cells were given; None: not known."""
    if cns_tumour is None:
        return None
    if not cns_tumour:
        return "no_tumour"
    return "tumour_local" if local_cells else "tumour_systemic"


def onset_state(hours: float) -> str:
    """State of ``onset`` from hours after the last dose of cells."""
    if hours < cut("first_day_h"):
        return "first_day"
    return "days_1_to_15" if hours <= cut("later_h") else "later"


def ratio_state(csf: float, blood: float) -> str | None:
    """State of ``cytokine_ratio`` from IL-6 in fluid and in blood, same unit; None where blood is not above 0."""
    if not (blood > 0 and csf >= 0):
        return None
    ratio = csf / blood
    return "low" if ratio < cut("ratio_low") else "high" if ratio > cut("ratio_high") else "middle"


def mri_state(
    lesion_ml: float,
    *,
    tumour: bool,
    near_share: float | None = None,
    focality_low: float = 0.0,
    smallest_ml: float = 0.5,
) -> str | None:
    """State of ``mri`` from measured lesions and their focality; None where the numbers do not say.

    Parameters
    ----------
    lesion_ml
        New lesions, mL. Below ``smallest_ml`` imaging counts as unchanged.
    tumour
        Whether there is a tumour of the nervous system.
    near_share, focality_low
        Share of lesions near the tumour and lower end of its excess over the brain, where they were measured.
    """
    if lesion_ml < smallest_ml:
        return "unchanged"
    if near_share is None:
        return None if tumour else "symmetric_or_deep"
    if near_share >= cut("near_share") and focality_low >= cut("focality"):
        return "at_tumour"
    return "symmetric_or_deep" if near_share <= cut("far_share") else "both"


def eeg_state(
    *, slow: bool, local: bool, lean: float, least: float, tumour: bool, tumour_side: str | None
) -> str | None:
    """State of ``eeg`` from measured slowing; None where the numbers do not say.

    Parameters
    ----------
    slow
        Whether the whole head is slow.
    local
        Whether one pair of electrodes, or one whole side, has far more delta than the other.
    lean, least
        Delta of the left over the right side (log2, median pair), and how much of it names the side.
    tumour, tumour_side
        Whether there is a tumour of the nervous system, and its side where it has one (``left``, ``right``).
    """
    if not local:
        return "diffuse" if slow else "normal"
    if not tumour:
        return "focal_elsewhere"
    # Which pair it is the tables do not hold: where the sides are alike a local excess cannot be placed.
    if abs(lean) < least or tumour_side is None:
        return None
    return "focal_at_tumour" if (lean > 0) == (tumour_side == "left") else "focal_elsewhere"


def ventricle_state(change: float) -> str:
    """State of ``ventricles`` from the relative change of their fluid from baseline."""
    if change > cut("wider"):
        return "wider_or_shifted"
    return "narrowed" if change < cut("narrower") else "unchanged"
