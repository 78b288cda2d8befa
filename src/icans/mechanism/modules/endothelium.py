"""Endothelium: activation, Weibel-Palade bodies, angiopoietins, adhesion molecules, coagulation, complement.

Cytokines above baseline drive activation (trans-signalling IL-6, because endothelium has little IL-6 receptor; local
TNF and IL-1 of activated myeloid cells; interferon gamma); angiopoietin 1, which platelets carry, holds it down through
Tie2, and angiopoietin 2 competes. Complement amplifies the drive but cannot keep it up alone. Levels: Moreno-Castano
2023 (10.1136/jitc-2022-006365); order of events: Kumpers 2009 (10.1186/cc7866), Gust 2017
(10.1158/2159-8290.CD-17-0698).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder

if TYPE_CHECKING:
    from icans.mechanism.patient import Options

#: State, its name in the cohort's vocabulary (none: not there), unit, meaning.
_MARKERS = (
    ("ICAM1", "icam_1", "ng/mL", "soluble ICAM-1"),
    ("VCAM1", "vcam_1", "ng/mL", "soluble VCAM-1"),
    ("ESEL", "e_selectin", "ng/mL", "soluble E-selectin"),
    ("THBD", "thrombomodulin", "ng/mL", "soluble thrombomodulin"),
    ("PAI1", "pai_1", "ng/mL", "plasminogen activator inhibitor 1"),
    ("ST2", "st2", "ng/mL", "soluble ST2"),
    ("STNFR1", "", "pg/mL", "soluble TNF receptor 1"),
    ("C5B9", "", "ng/mL", "soluble terminal complement complex"),
)
_ALSO_MYELOID = ("ST2", "STNFR1")


def declare(m: Builder, options: Options) -> None:
    """Declare the module."""
    m.module(
        "endothelium", "Endothelium, coagulation and complement", "Moreno-Castano 2023, 10.1136/jitc-2022-006365",
        "Kumpers 2009, 10.1186/cc7866", "Gust 2017, 10.1158/2159-8290.CD-17-0698",
    )  # fmt: skip
    m.handle("endo_protect", "protection of the endothelium (defibrotide)")
    m.handle("tie2_support", "stimulation of Tie2 beyond what angiopoietin 1 does")
    _activation(m)
    _angiopoietins(m)
    _markers(m)
    _coagulation(m)


def _activation(m: Builder) -> None:
    m.state("ENDO", "1", "activation of the systemic endothelium, 0 to 1", "endo_0")
    m.let(
        "endo_drive",
        "(1 - endo_steroid*steroid)*(endo_w_local*((1 - endo_local_il1)*(1 - inh_tnf)*hill(MYE_A, endo_local_half)"
        " + endo_local_il1*il1_local)"
        " + endo_w_il6*hill(il6_trans_excess, endo_il6_half)"
        " + endo_w_ifng*(1 - endo_jak*inh_jak)*hill(ifng_excess, endo_ifng_half))"
        "*(1 + endo_complement*hill(pos(C5B9 - c5b9_rest), c5b9_half))",
        "1", "cytokines that act on the endothelium",
    )  # fmt: skip
    m.flow("ENDO", "endo_on*power(endo_drive, endo_steep)*(1 - endo_protect)*(1 + endo_prone*endo_0)*(1 - ENDO)",
           "activation, easier where it was active before")  # fmt: skip
    m.flow("ENDO", "-endo_off*(1 - endo_tie2 + endo_tie2*tie2_activity/tie2_rest)*(ENDO - endo_0)",
           "recovery, which Tie2 helps")  # fmt: skip


def _angiopoietins(m: Builder) -> None:
    m.let("wpb_rest", "(wpb_fill + wpb_leak)/(wpb_fill + wpb_leak + wpb_release*endo_0)", "1", "store at rest")
    m.state("WPB", "1", "Weibel-Palade bodies, share of a full store", "wpb_rest")
    m.flow("WPB", "wpb_fill*(1 - WPB)", "renewal")
    m.flow("WPB", "wpb_leak*(1 - WPB)", "renewal")
    m.flow("WPB", "-wpb_release*ENDO*WPB", "release by activated endothelium")
    m.let("wpb_out", "ENDO*WPB", "1", "release, relative")
    m.let("ang2_rest", "ang2_base*(1 + ang2_rise*endo_0*wpb_rest)", "pg/mL", "angiopoietin 2 at rest")
    m.state("ANG2", "pg/mL", "angiopoietin 2", "ang2_rest")
    m.flow("ANG2", "ang2_out*(ang2_base*(1 + ang2_rise*wpb_out) - ANG2)", "release and loss")
    m.state("VWF", "%", "von Willebrand factor antigen", "vwf_base*(1 + vwf_rise*endo_0*wpb_rest)")
    m.flow("VWF", "vwf_out*(vwf_base*(1 + vwf_rise*wpb_out) - VWF)", "release and loss")
    m.let("ang1_rest", "ang1_base*(ang1_floor + (1 - ang1_floor)*plt_0/plt_normal)*(1 - ang1_fall*endo_0)", "pg/mL",
          "angiopoietin 1 at rest")  # fmt: skip
    m.state("ANG1", "pg/mL", "angiopoietin 1", "ang1_rest")
    m.flow("ANG1", "ang1_out*(ang1_base*(ang1_floor + (1 - ang1_floor)*PLT/plt_normal)*(1 - ang1_fall*ENDO) - ANG1)",
           "release by platelets and pericytes, loss")  # fmt: skip
    m.let("ang_ratio", "ANG2/ANG1", "1", "angiopoietin 2 to angiopoietin 1")
    m.let("tie2_natural", "(ANG1/ang1_base)/(ANG1/ang1_base + ang2_rival*ANG2/ang2_base)", "1",
          "Tie2 activity that the angiopoietins leave")  # fmt: skip
    m.let("tie2_rest", "(ang1_rest/ang1_base)/(ang1_rest/ang1_base + ang2_rival*ang2_rest/ang2_base)", "1",
          "Tie2 activity at rest")  # fmt: skip
    m.let("tie2_activity", "tie2_natural + (1 - tie2_natural)*tie2_support", "1", "Tie2 activity")
    m.observe("ANG2", "ang_2", "pg/mL")
    m.observe("ANG1", "ang_1", "pg/mL")
    m.observe("VWF", "vwf", "%")


def _markers(m: Builder) -> None:
    for state, analyte, unit, meaning in _MARKERS:
        name = state.lower()
        m.state(state, unit, meaning, f"{name}_base*(1 + {name}_rise*endo_0)")
        myeloid = f" + {name}_mye*MYE_A" if state in _ALSO_MYELOID else ""
        m.flow(state, f"{name}_out*({name}_base*(1 + {name}_rise*ENDO{myeloid}) - {state})", "shedding and loss")
        if analyte:
            m.observe(state, analyte, unit)
    m.let("c5b9_rest", "c5b9_base*(1 + c5b9_rise*endo_0)", "ng/mL", "terminal complement complex at rest")


def _coagulation(m: Builder) -> None:
    m.let("coagulation", "(ENDO - endo_0)*hill(MYE_A, coag_mye_half)", "1",
          "thrombin generation: tissue factor of monocytes on an activated wall")  # fmt: skip
    m.state("ADAMTS13", "%", "ADAMTS13 activity", "adamts13_base/(1 + adamts13_use*endo_0)")
    m.flow("ADAMTS13", "adamts13_out*(adamts13_base - (1 + adamts13_use*ENDO)*ADAMTS13)", "renewal and consumption")
    m.state("DDIMER", "mg/L{FEU}", "D-dimer", "ddimer_base")
    m.flow("DDIMER", "ddimer_out*(ddimer_base*(1 + ddimer_rise*coagulation) - DDIMER)", "fibrinolysis and loss")
    m.observe("ADAMTS13", "adamts13", "%")
    m.observe("DDIMER", "d_dimer", "mg/L{FEU}")
