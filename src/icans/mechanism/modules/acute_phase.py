"""Acute phase: C-reactive protein, ferritin, fibrinogen, fever, lactate dehydrogenase.

The liver makes C-reactive protein on effective IL-6, so that it falls when the receptor is blocked; ferritin comes from
activated and, later, from haemophagocytic macrophages; fever from IL-6, IL-1 and TNF in the
hypothalamus, and from what engaged T cells release near it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder

if TYPE_CHECKING:
    from icans.mechanism.patient import Options


def declare(m: Builder, options: Options) -> None:
    """Declare the module."""
    m.module("acute_phase", "Acute phase and fever", "Rao 2023, COVID-19 QSP model",
             "PrCRS, 202 patients with CAR T cells")  # fmt: skip
    m.state("CRP", "mg/L", "C-reactive protein", "crp_base")
    m.let("crp_drive", "hill(il6_excess, crp_half)", "1", "share of the liver's full response")
    m.flow("CRP", "crp_out*(crp_base + crp_rise*crp_drive)", "liver, on IL-6")
    m.flow("CRP", "-crp_out*CRP", "loss")
    m.state("FERRITIN", "ng/mL", "ferritin", "ferritin_base")
    m.flow(
        "FERRITIN",
        "ferritin_out*ferritin_base*(1 + ferritin_mye*hill(MYE_A, ferritin_mye_half) + ferritin_hmp*HMP)",
        "macrophages and liver",
    )  # fmt: skip
    m.flow("FERRITIN", "-ferritin_out*FERRITIN", "loss")
    m.state("FIBRINOGEN", "mg/dL", "fibrinogen", "fibrinogen_base")
    m.flow("FIBRINOGEN", "fibrinogen_out*fibrinogen_base*(1 + fibrinogen_rise*crp_drive)", "liver, on IL-6")
    m.flow("FIBRINOGEN", "-fibrinogen_out*(1 + fibrinogen_use*coagulation + fibrinogen_hmp*HMP)*FIBRINOGEN",
           "loss and consumption")  # fmt: skip
    _fever(m)
    _tissue(m)
    m.observe("CRP", "crp", "mg/L", "serum")
    m.observe("FERRITIN", "ferritin", "ng/mL", "serum")
    m.observe("FIBRINOGEN", "fibrinogen", "mg/dL")
    m.observe("TEMP", "temperature", "Cel", "vital")
    m.observe("LDH", "ldh", "U/L", "serum")


def _fever(m: Builder) -> None:
    m.let(
        "fever_drive",
        "(1 - fever_steroid*steroid)*(fever_w_il6*hill(il6_excess, fever_il6_half) + fever_w_il1*il1_local"
        " + fever_w_tnf*(1 - inh_tnf)*hill(MYE_A, fever_mye_half)"
        " + fever_w_ifng*hill(ifng_excess, fever_ifng_half) + fever_w_car*hill(engaged, fever_car_half))",
        "1", "pyrogens, share of the largest effect",
    )  # fmt: skip
    m.state("TEMP", "Cel", "body temperature", "temp_base", nonnegative=False)
    m.flow("TEMP", "temp_rate*(temp_base + temp_rise*fever_drive - TEMP)", "set point and its pursuit")


def _tissue(m: Builder) -> None:
    m.state("LDH", "U/L", "lactate dehydrogenase", "ldh_base*(1 + ldh_tumour*hill(tum_0, ldh_tumour_half))")
    m.flow(
        "LDH",
        "ldh_out*ldh_base*(1 + ldh_tumour*hill(TUM, ldh_tumour_half) + ldh_damp*hill(damp, ldh_damp_half)"
        " + ldh_injury*tissue_injury)",
        "tumour, its lysis, injured tissue",
    )  # fmt: skip
    m.flow("LDH", "-ldh_out*LDH", "loss")
