"""Organs: marrow and blood counts, circulation, lung, heart, kidney, liver, haemophagocytosis; severity of CRS.

`crs_severity` is the latent quantity that every scheme of grading cuts: its parts are fever, hypotension and hypoxia.
It is scaled so that 1, 2, 3, 4 are about the middle of the ASTCT grades; a scheme's own cuts belong to its observation
model. Definitions of the grades: Lee 2019 (10.1016/j.bbmt.2018.12.758); late hyperinflammation: Hines 2023
(10.1016/j.jtct.2023.03.006).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder

if TYPE_CHECKING:
    from icans.mechanism.patient import Options

_CAUSES = {"injury": "tissue_injury", "vaso": "VASO", "hmp": "HMP"}
#: State, unit, meaning, and what raises it.
_CHEMISTRY = (
    ("CREAT", "mg/dL", "creatinine", ("injury", "vaso")),
    ("ALT", "U/L", "alanine aminotransferase", ("injury", "hmp")),
    ("TROP", "ng/mL", "troponin I (cardiac stress)", ("injury", "vaso")),
    ("LACTATE", "mmol/L", "lactate", ("injury", "vaso")),
    ("BILI", "mg/dL", "bilirubin", ("injury", "hmp")),
    ("TRIG", "mg/dL", "triglycerides", ("injury", "hmp")),
)


def declare(m: Builder, options: Options) -> None:
    """Declare the module."""
    m.module("organs", "Organs and severity of CRS", "Lee 2019, 10.1016/j.bbmt.2018.12.758",
             "Hines 2023, 10.1016/j.jtct.2023.03.006")  # fmt: skip
    _haemophagocytosis(m)
    _blood_counts(m)
    _circulation(m)
    _lung(m)
    _chemistry(m)
    _severity(m)


def _haemophagocytosis(m: Builder) -> None:
    m.state("HMP_P", "1", "tissue macrophages on the way to haemophagocytosis, share of the largest number")
    m.state("HMP", "1", "haemophagocytic tissue macrophages, share of the largest number")
    m.let("hmp_drive", "hill(MYE_A, hmp_mye_half)*hill(ifng_excess, hmp_ifng_half)", "1",
          "interferon gamma on activated cells")  # fmt: skip
    m.flow("HMP_P", "hmp_on*hmp_drive*(1 - hmp_jak*inh_jak)*(1 - hmp_steroid*steroid)*(1 - HMP_P - HMP)", "activation")
    m.move("HMP_P", "HMP", "hmp_turn*HMP_P", "turning haemophagocytic")
    m.flow("HMP_P", "-hmp_off*(1 + hmp_steroid_loss*steroid)*HMP_P", "slow loss of tissue macrophages")
    m.flow("HMP", "-hmp_off*(1 + hmp_steroid_loss*steroid)*HMP", "slow loss of tissue macrophages")
    m.let("iechs_drive", "HMP", "1", "drive of late hyperinflammation (IEC-HS)")


def _blood_counts(m: Builder) -> None:
    m.state("MARROW", "1", "output of the marrow, relative", "1 - marrow_ld*hill(ld_0, marrow_ld_half)")
    m.flow("MARROW", "marrow_rate*(1 - marrow_ld*hill(LD, marrow_ld_half) - MARROW)", "lymphodepletion and recovery")
    m.flow("MARROW", "-marrow_rate*marrow_inflammation*hill(MYE_A + HMP, marrow_mye_half)*MARROW", "inflammation")
    m.state(
        "MARROW_2",
        "1",
        "maturing cells of the marrow, relative",
        "1 - marrow_done*marrow_ld*hill(ld_0, marrow_ld_half)",
    )
    m.flow("MARROW_2", "marrow_transit*(MARROW - MARROW_2)", "maturation")
    m.state("ANC", "10*9/L", "neutrophils", "anc_0")
    m.flow("ANC", "anc_out*(anc_0*MARROW_2*(1 + anc_gmcsf*hill(gmcsf_excess, anc_gmcsf_half)) - ANC)",
           "release and loss")  # fmt: skip
    m.state("PLT", "10*9/L", "platelets", "plt_0")
    m.flow("PLT", "plt_out*(plt_0*MARROW_2 - PLT)", "release and loss")
    m.flow("PLT", "-plt_use*((ENDO - endo_0) + plt_hmp*HMP)*PLT", "consumption")
    m.observe("ANC", "anc", "10*9/L", "blood")
    m.observe("PLT", "platelets", "10*9/L", "blood")


def _circulation(m: Builder) -> None:
    m.let(
        "vaso_drive",
        "(1 - vaso_steroid*steroid)*(vaso_w_il6*log(1 + il6_excess/vaso_il6_from)"
        " + vaso_w_local*hill(MYE_A, vaso_mye_half)*((1 - vaso_local_il1)*(1 - inh_tnf) + vaso_local_il1*(1 - inh_il1))"
        " + vaso_w_endo*(ENDO - endo_0))",
        "1", "what widens and leaks vessels",
    )  # fmt: skip
    m.state("VASO", "1", "vasoplegia, 0 to 1")
    m.flow("VASO", "vaso_on*power(pos(vaso_drive), vaso_steep)*(1 - VASO)", "nitric oxide and leak")
    m.flow("VASO", "-vaso_off*VASO", "recovery")
    m.let("map_mmhg", "map_base - map_fall*VASO", "mm[Hg]", "mean arterial pressure without vasopressors")
    m.let("pressor_need", "pressor_slope*pos(VASO - pressor_from)", "ug/min", "norepinephrine that restores pressure")
    m.let("heart_rate_bpm", "heart_rate_base + heart_rate_fever*pos(TEMP - temp_base) + heart_rate_vaso*VASO", "/min",
          "heart rate")  # fmt: skip
    m.observe("map_mmhg", "map", "mm[Hg]", "vital")
    m.observe("heart_rate_bpm", "heart_rate", "/min", "vital")


def _lung(m: Builder) -> None:
    m.state("LEAK", "1", "capillary leak of the lung, 0 to 1")
    m.let(
        "leak_drive",
        "leak_w_endo*(ENDO - endo_0) + leak_w_mye*hill(MYE_A, leak_mye_half)*(1 - leak_steroid*steroid)"
        " + leak_w_vaso*VASO",
        "1", "endothelium, macrophages of the lung, fluid given for hypotension",
    )  # fmt: skip
    m.flow("LEAK", "leak_on*power(pos(leak_drive), leak_steep)*(1 - LEAK)", "opened capillaries")
    m.flow("LEAK", "-leak_off*LEAK", "resorption")
    m.let("spo2_percent", "spo2_base - spo2_fall*LEAK", "%", "oxygen saturation on room air")
    m.let("oxygen_need", "oxygen_slope*pos(LEAK - oxygen_from)", "L/min", "oxygen that restores saturation")
    m.let("respiratory_rate_bpm", "respiratory_rate_base + respiratory_rate_leak*LEAK"
          " + respiratory_rate_fever*pos(TEMP - temp_base)", "/min", "respiratory rate")  # fmt: skip
    m.observe("spo2_percent", "spo2", "%", "vital")
    m.observe("oxygen_need", "oxygen_flow", "L/min", "vital")
    m.observe("respiratory_rate_bpm", "respiratory_rate", "/min", "vital")


def _chemistry(m: Builder) -> None:
    m.let(
        "tissue_injury",
        "hill(VASO*VASO + injury_hmp*HMP, injury_half)",
        "1",
        "injury of organs by shock and macrophages",
    )
    for state, unit, meaning, causes in _CHEMISTRY:
        name = state.lower()
        m.state(state, unit, meaning, f"{name}_base")
        terms = "".join(f" + {name}_{cause}*{_CAUSES[cause]}" for cause in causes)
        m.flow(state, f"{name}_out*({name}_base*(1{terms}) - {state})", "release and loss")
    m.observe("CREAT", "creatinine", "mg/dL", "serum")
    m.observe("ALT", "alt", "U/L", "serum")
    m.observe("TROP", "troponin_i", "ng/mL", "serum")
    m.observe("LACTATE", "lactate", "mmol/L", "blood")
    m.observe("BILI", "bilirubin", "mg/dL", "serum")
    m.observe("TRIG", "triglycerides", "mg/dL", "serum")


def _severity(m: Builder) -> None:
    m.let("crs_fever", "TEMP - fever_threshold", "Cel", "temperature above the fever threshold (negative: none)")
    m.let("crs_hypotension", "hypotension_scale*VASO", "1",
          "hypotension on the scale of ASTCT grades (2: fluids, 3: one vasopressor, 4: several)")  # fmt: skip
    m.let("crs_hypoxia", "hypoxia_scale*LEAK", "1",
          "hypoxia on the scale of ASTCT grades (2: low flow, 3: high flow, 4: pressure)")  # fmt: skip
    m.let("crs_worst", "crs_hypoxia + pos(crs_hypotension - crs_hypoxia)", "1", "worse of hypotension and hypoxia")
    m.let("crs_feverish", "expit(crs_fever/fever_width)", "1", "fever as a share: 0.5 at the threshold")
    m.let("crs_shock", "expit((crs_worst - shock_from)/shock_width)", "1",
          "hypotension or hypoxia that counts even where treatment has taken the fever")  # fmt: skip
    m.let("crs_severity", "crs_feverish + pos(crs_shock - crs_feverish) + pos(crs_worst - 1)", "1",
          "latent severity of CRS; a grade is where it lies between a scheme's cuts")  # fmt: skip
