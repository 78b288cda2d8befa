"""Every scheme that grades a day of findings, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from icans.core.errors import GradingError
from icans.harmonize.grading import cartox, crs, ctcae, icans, lee2014, penn, tian
from icans.harmonize.grading.findings import Findings, Grade
from icans.harmonize.grading.iec_hs import grade_iec_hs
from icans.harmonize.grading.options import GradingOptions
from icans.harmonize.grading.rules import Source, sources


@dataclass(frozen=True)
class Scheme:
    """A grading scheme for one toxicity: what it reads and the function that grades.

    ``reads``: items without any of which there is nothing to grade. ``minds``: further items that change how
    those are read. The function sees no other items. ``scheme`` is the name in the ``grades`` table, ``name``
    is ``toxicity/scheme``.
    """

    toxicity: str
    scheme: str
    function: Callable[[Findings, GradingOptions], Grade]
    reads: frozenset[str]
    minds: frozenset[str] = frozenset()

    @property
    def items(self) -> frozenset[str]:
        """Every item that the function may look at."""
        return self.reads | self.minds

    @property
    def name(self) -> str:
        """``"ICANS/ASTCT"``."""
        return f"{self.toxicity}/{self.scheme}"

    @property
    def source(self) -> Source:
        """Where the rules come from, and whether they were read or recalled."""
        return sources()[self.scheme]


ICE = frozenset(
    {"ice_total", "ice_orientation", "ice_naming", "ice_command", "ice_writing", "ice_attention", "cartox10"}
)
CAPD = frozenset({"capd_total", *(f"capd_item_{number}" for number in range(1, 9))})
NEURO = ICE | CAPD | {"cognitive_test_untestable", "consciousness", "rass", "seizure", "seizure_minutes", "motor",
                      "cerebral_oedema", "icp_sign", "sedated"}  # fmt: skip
PRESSURE = frozenset({"hypotension", "iv_fluids", "vasopressors", "vasopressin", "vasopressor_dose"})
OXYGEN = frozenset({"oxygen_device", "oxygen_flow_l_min", "fio2_percent"})
SYSTEMIC = frozenset({"fever", "temperature_max_c", "crs_symptoms"}) | PRESSURE | OXYGEN
ORGANS = frozenset({"organ_toxicity_grade", "transaminase_grade", "creatinine_grade"})
TERMS = frozenset({"encephalopathy", "confusion", "aphasia", "seizure", "somnolence", "delirium", "headache", "tremor",
                   "depressed_consciousness", "cerebral_oedema", "dizziness", "insomnia", "anxiety"})  # fmt: skip
DEATH = frozenset({"death_attributed"})
SUPPORT = frozenset({"home_positive_pressure", "ventilated_for_airway_only"})
BLEEDING = frozenset({"intracranial_haemorrhage"})


def _iec_hs(found: Findings, options: GradingOptions) -> Grade:
    return grade_iec_hs(found, None, options)


SCHEMES: dict[str, Scheme] = {
    s.name: s
    for s in (
        Scheme("ICANS", "ASTCT", icans.grade_icans, NEURO | DEATH, BLEEDING | {"head_of_state"}),
        Scheme("ICANS", "CARTOX", cartox.grade_cartox, (NEURO - CAPD) | {"csf_opening_pressure_mmhg"} | DEATH,
               BLEEDING | {"head_of_state"}),
        Scheme("CRS", "ASTCT", crs.grade_crs, SYSTEMIC - {"crs_symptoms"} | DEATH,
               SUPPORT | {"antipyretic_or_anticytokine"}),
        Scheme("CRS", "Lee2014", lee2014.grade_lee2014, SYSTEMIC | ORGANS | DEATH, SUPPORT),
        Scheme("CRS", "Penn", penn.grade_penn,
               SYSTEMIC | ORGANS | {"hospital_admission_for_crs", "iv_therapy", "ffp_or_cryoprecipitate"} | DEATH,
               SUPPORT),
        Scheme("CRS", "CTCAE5", ctcae.grade_crs_ctcae5, SYSTEMIC - {"crs_symptoms"} | DEATH, SUPPORT),
        Scheme("neurotoxicity", "CTCAE4", ctcae.grade_ctcae4, TERMS | DEATH, BLEEDING),
        Scheme("neurotoxicity", "CTCAE5", ctcae.grade_ctcae5, TERMS | DEATH, BLEEDING),
        Scheme("TIAN", "TIAN2023", tian.grade_tian,
               frozenset({"tian_signs", "tian_course", "cns_tumour_inflammation"}) | DEATH, frozenset({"tian_type"})),
        Scheme("IEC-HS", "IEC-HS2023", _iec_hs, frozenset({"iec_hs_course", "haemophagocytosis"}) | DEATH),
    )
}  # fmt: skip


def scheme(name: str) -> Scheme:
    """The scheme ``toxicity/scheme``; GradingError with the known names when there is none."""
    try:
        return SCHEMES[name]
    except KeyError:
        raise GradingError(f"no scheme {name!r}; there are {sorted(SCHEMES)}") from None
