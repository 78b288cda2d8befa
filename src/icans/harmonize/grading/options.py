"""Where the published rules are silent or disagree, the choice is here, named, with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from icans.core.errors import GradingError

#: CSF opening pressure above which it counts as raised: 25 cm H2O (Friedman 2013, 10.1212/WNL.0b013e3182a55f17)
#: in mmHg. CARTOX names "below 20 mmHg" as a grade 3 sign; without this floor any normal puncture would be one.
RAISED_PRESSURE_MMHG = 18.4

#: Domains that a chart may leave out when there is nothing to say. ``terms``: the terms of CTCAE, one by one.
BY_EXCEPTION = frozenset({"seizure", "motor", "oedema", "consciousness", "hypotension", "hypoxia", "fever", "terms"})


@dataclass(frozen=True)
class GradingOptions:
    """Choices that grading depends on.

    Attributes
    ----------
    capd_ages
        ``"ASTCT"``: CAPD below 12 years (Lee 2019). ``"NCIt"``: 12 years and under (NCI Thesaurus C188936).
    capd_low
        Lowest CAPD total that is grade 1. 1: an awake child with CAPD 0 is grade 0; 0: as printed, "<9".
    seizure_of_five_minutes
        Grade of a seizure of exactly 5 minutes: 3 (the rule says *longer than* 5), or 4.
    charted_by_exception
        Domains in which no entry means "absent" rather than "missing", e.g. ``("seizure", "motor", "oedema")``
        for a chart that notes only what is found. Empty: missing is missing, and grades are lower bounds.
    ctcae_terms
        Name of a term list in ``rules.toml``, or the terms: which terms make up "neurotoxicity".
    raised_pressure_mmhg
        CARTOX: an opening pressure at or below this is normal.
    iec_hs_common_needed
        IEC-HS: how many of the common manifestations must stand beside the ferritin criterion.
    masking_persists_days
        CRS: after treatment, fever is no longer needed until this many days in a row were grade 0.
    measured_temperature
        CRS: whether the day's highest measured temperature stands in where no bedside entry gives one (only on
        days that have other bedside entries).
    prophylaxis_masks
        CRS: whether drugs given before any fever count as having masked it.
    """

    capd_ages: Literal["ASTCT", "NCIt"] = "ASTCT"
    capd_low: Literal[0, 1] = 1
    seizure_of_five_minutes: Literal[3, 4] = 3
    charted_by_exception: tuple[str, ...] = ()
    ctcae_terms: str | tuple[str, ...] = "trial"
    raised_pressure_mmhg: float = RAISED_PRESSURE_MMHG
    iec_hs_common_needed: int = 1
    masking_persists_days: int = 3
    measured_temperature: bool = True
    prophylaxis_masks: bool = False

    def __post_init__(self) -> None:
        unknown = set(self.charted_by_exception) - BY_EXCEPTION
        if unknown:
            known = sorted(BY_EXCEPTION)
            raise GradingError(f"no domain {sorted(unknown)} can be charted by exception; there are {known}")
        if self.capd_ages not in ("ASTCT", "NCIt"):
            raise GradingError(f"capd_ages is 'ASTCT' or 'NCIt', not {self.capd_ages!r}")
        if self.capd_low not in (0, 1) or self.seizure_of_five_minutes not in (3, 4):
            raise GradingError("capd_low is 0 or 1, and seizure_of_five_minutes is 3 or 4")
        if self.masking_persists_days < 0 or self.iec_hs_common_needed < 0:
            raise GradingError("numbers of days and of manifestations cannot be negative")


DEFAULT = GradingOptions()
