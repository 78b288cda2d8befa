"""TIAN, tumour inflammation-associated neurotoxicity (Mahdi et al., Nat Med 2023;29:803, 10.1038/s41591-023-02276-w).

Unverified: the two types were read, the wording of the grades was not obtained. The table in ``rules.toml``
(section ``tian``) is a recalled skeleton by what was needed; replace it from the primary source before use.
"""

from __future__ import annotations

from icans.harmonize.grading.findings import Domain, Findings, Grade, domain_from_words, worst
from icans.harmonize.grading.options import DEFAULT, GradingOptions
from icans.harmonize.grading.rules import grades_of

SCHEME = "TIAN2023"
TOXICITY = "TIAN"


def grade_tian(found: Findings, options: GradingOptions = DEFAULT) -> Grade:
    """TIAN by course. Without a tumour of the CNS that swells or fails there is none (grade 0)."""
    flags = frozenset({"unverified", *found.words("tian_type")})
    present = found.flag("cns_tumour_inflammation")
    domain = domain_from_words("course", found, "tian_course", grades_of("tian", "course"))
    if present is False and not found.words("tian_course") - {"none"}:
        domain = Domain("course", 0.0)
    died = "TIAN" in found.words("death_attributed")
    return worst(SCHEME, TOXICITY, [domain], died=died, incomplete=found.incomplete, flags=flags)
