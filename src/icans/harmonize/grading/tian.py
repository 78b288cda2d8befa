"""TIAN, tumour inflammation-associated neurotoxicity (Mahdi et al., Nat Med 2023;29:803, 10.1038/s41591-023-02276-w).

The two types and the grades by signs (Table 1, PMC10166099) were read. Records that say only what was needed
(``tian_course``) are graded by a recalled skeleton, marked unverified. Both tables are in ``rules.toml``, section
``tian``.
"""

from __future__ import annotations

from icans.harmonize.grading.findings import Domain, Findings, Grade, domain_from_words, worst
from icans.harmonize.grading.options import DEFAULT, GradingOptions
from icans.harmonize.grading.rules import grades_of

SCHEME = "TIAN2023"
TOXICITY = "TIAN"


def grade_tian(found: Findings, options: GradingOptions = DEFAULT) -> Grade:
    """TIAN by signs, else by course. Without a tumour of the CNS that swells or fails there is none (grade 0)."""
    name = "signs" if found.words("tian_signs") else "course"
    flags = frozenset({*([] if name == "signs" else ["unverified"]), *found.words("tian_type")})
    present = found.flag("cns_tumour_inflammation")
    domain = domain_from_words(name, found, f"tian_{name}", grades_of("tian", name))
    if present is False and not found.words(f"tian_{name}") - {"none"}:
        domain = Domain(name, 0.0)
    died = "TIAN" in found.words("death_attributed")
    return worst(SCHEME, TOXICITY, [domain], died=died, incomplete=found.incomplete, flags=flags)
