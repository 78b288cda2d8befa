"""CTCAE 4.03 and 5.0: neurological terms one by one, "neurotoxicity" over a list of terms, and CRS (5.0).

"Neurotoxicity" is whatever the sponsor's list of terms says it is; the list is therefore an option, and part of
the meaning of every such grade.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from icans.core.errors import GradingError
from icans.harmonize.grading.crs import fever
from icans.harmonize.grading.findings import Domain, Findings, Grade, domain_from_words, worst
from icans.harmonize.grading.options import DEFAULT, GradingOptions
from icans.harmonize.grading.rules import rules
from icans.harmonize.grading.support import hypotension_by_dose, oxygen_by_fraction

Version = Literal["4", "5"]


def terms(chosen: str | tuple[str, ...]) -> tuple[str, ...]:
    """The terms of a named list, or the given terms; GradingError for one that has no rule."""
    lists, known = rules()["ctcae"]["term_lists"], rules()["ctcae"]["terms"]
    if isinstance(chosen, str):
        if chosen not in lists:
            raise GradingError(f"no list of CTCAE terms is called {chosen!r}; there are {sorted(lists)}")
        chosen = tuple(lists[chosen])
    unknown = [term for term in chosen if term not in known]
    if unknown or not chosen:
        raise GradingError(f"no CTCAE rule for {unknown or 'an empty list'}; there are {sorted(known)}")
    return tuple(chosen)


def term_grade(found: Findings, term: str, version: Version) -> Domain:
    """Grade of one term."""
    rule = rules()["ctcae"]["terms"][term]
    if version == "5" and term == "seizure" and found.seizure_history:
        version = "4"  # not of new onset
    table = rule.get("grade") or rule[f"grade{version}"]
    domain = domain_from_words(term, found, rule["item"], {word: float(g) for word, g in table.items()})
    if term == "oedema_cerebral" and found.flag("intracranial_haemorrhage"):
        return Domain(term, None, "excluded", domain.ceiling, "graded as intracranial haemorrhage")
    return domain


def grade_neurotoxicity(found: Findings, options: GradingOptions = DEFAULT, *, version: Version = "4") -> Grade:
    """The highest grade over the list of terms in ``options.ctcae_terms``."""
    domains = [term_grade(found, term, version) for term in terms(options.ctcae_terms)]
    if "terms" in options.charted_by_exception:
        domains = [replace(d, grade=0.0, state="graded") if d.state == "missing" else d for d in domains]
    died = "ICANS" in found.words("death_attributed")
    return worst(f"CTCAE{version}", "neurotoxicity", domains, died=died, incomplete=found.incomplete)


def grade_ctcae4(found: Findings, options: GradingOptions = DEFAULT) -> Grade:
    """Neurotoxicity under CTCAE 4.03."""
    return grade_neurotoxicity(found, options, version="4")


def grade_ctcae5(found: Findings, options: GradingOptions = DEFAULT) -> Grade:
    """Neurotoxicity under CTCAE 5.0."""
    return grade_neurotoxicity(found, options, version="5")


def grade_crs_ctcae5(found: Findings, options: GradingOptions = DEFAULT) -> Grade:
    """CRS under CTCAE 5.0 (recalled): fever 1; fluids or < 40 % oxygen 2; one pressor or >= 40 % 3.

    Grade 4 is life-threatening: a ventilator, or more than one pressor.
    """
    febrile = fever(found, options)
    domains = (
        Domain("fever", None if febrile is None else float(febrile), "missing" if febrile is None else "graded", 1.0),
        hypotension_by_dose(found, low=2.0, one_low_dose=3.0, high=4.0, several=4.0),
        oxygen_by_fraction(found, "ctcae5"),
    )
    died = "CRS" in found.words("death_attributed")
    return worst("CTCAE5", "CRS", domains, died=died, incomplete=found.incomplete)
