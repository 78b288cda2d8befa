"""Dwivedi et al. 2014, 10.1038/psp.2013.64: interleukin 6, its receptors, STAT3 and CRP in Crohn's disease, antibody.

Serum (s), liver (l) and gut (g); concentrations in nM. Binding is explicit: ligand to soluble and membrane receptor,
both complexes to gp130 (soluble: a sink; membrane: signal). The antibody holds interleukin 6. Values and initial levels
are those of BIOMD0000000535; its complex of antibody and receptor never forms and is left out.
"""

from __future__ import annotations

from icans.mechanism.declare import Builder

PLACES = {"s": "serum", "l": "liver", "g": "gut"}


def declare(m: Builder) -> None:
    """Declare the model."""
    m.module("dwivedi_2014", "Interleukin 6 signalling", "Dwivedi 2014, 10.1038/psp.2013.64, BIOMD0000000535")
    for p, place in PLACES.items():
        for name, meaning in (
            ("IL6", "interleukin 6"), ("SR", "soluble receptor"), ("SG", "soluble gp130"),
            ("SRI", "interleukin 6 on the soluble receptor"), ("SRIG", "that complex on soluble gp130"),
        ):  # fmt: skip
            m.state(f"{name}_{p}", "nmol/L", f"{meaning}, {place}", f"{name}_{p}_0")
        _bind(m, f"SR_{p}", f"IL6_{p}", f"SRI_{p}", "k_on", "k_off")
        _bind(m, f"SRI_{p}", f"SG_{p}", f"SRIG_{p}", "g_on", "g_off")
    for name in ("IL6", "SR", "SG", "SRI", "SRIG"):
        for p in "lg":
            m.move(f"{name}_s", f"{name}_{p}", f"to_tissue*{name}_s - to_serum*{name}_{p}", "exchange")
    for state, made, lost in (("IL6_s", "il6_in", "il6_out"), ("SR_s", "sr_in", "sr_out"), ("SG_s", "sg_in", "sg_out"),
                              ("IL6_g", "il6_gut_in", "il6_gut_out")):  # fmt: skip
        m.flow(state, made, "production")
        m.flow(state, f"-{lost}*{state}", "loss")
    _liver_receptor(m)
    for p in "lg":
        _signal(m, p)
    _crp(m)
    _antibody(m)


def _bind(m: Builder, a: str, b: str, ab: str, on: str, off: str) -> None:
    text = f"{on}*{a}*{b} - {off}*{ab}"
    m.flow(a, f"-({text})", "binding")
    m.flow(b, f"-({text})", "binding")
    m.flow(ab, text, "binding")


def _liver_receptor(m: Builder) -> None:
    """Membrane receptor, which only the liver has."""
    m.state("R_l", "nmol/L", "membrane receptor, liver", "R_l_0")
    m.state("RI_l", "nmol/L", "interleukin 6 on it", "RI_l_0")
    _bind(m, "R_l", "IL6_l", "RI_l", "k_on", "k_off")
    m.flow("R_l", "r_in - r_out*R_l", "renewal")
    m.flow("RI_l", "-r_int*RI_l", "internalisation")


def _signal(m: Builder, p: str) -> None:
    """Membrane gp130, active complex and STAT3 in liver or gut."""
    for name, meaning in (("G", "membrane gp130"), ("RIG", "complex on gp130"), ("ACT", "active complex"),
                          ("STAT", "STAT3"), ("PSTAT", "phosphorylated STAT3")):  # fmt: skip
        m.state(f"{name}_{p}", "nmol/L", f"{meaning}, {PLACES[p]}", f"{name}_{p}_0")
    m.flow(f"G_{p}", f"r_in - r_out*G_{p}", "renewal")
    _bind(m, f"SRI_{p}", f"G_{p}", f"RIG_{p}", "g_on", "g_off")
    if p == "l":
        _bind(m, "RI_l", "G_l", "RIG_l", "g_on", "g_off")
    m.flow(f"RIG_{p}", f"-r_int*RIG_{p}", "internalisation")
    m.move(f"RIG_{p}", f"ACT_{p}", f"activate*RIG_{p} - rest_max*hill(ACT_{p}, rest_half)", "activation and rest")
    m.flow(f"ACT_{p}", f"-act_int*ACT_{p}", "internalisation")
    m.move(f"STAT_{p}", f"PSTAT_{p}", f"phos*ACT_{p}*hill(STAT_{p}, phos_half) - dephos*hill(PSTAT_{p}, dephos_half)",
           "phosphorylation")  # fmt: skip


def _crp(m: Builder) -> None:
    m.state("CRP_l", "nmol/L", "C-reactive protein outside cells, liver", "CRP_l_0")
    m.state("CRP_s", "nmol/L", "C-reactive protein, serum", "CRP_s_0")
    m.flow("CRP_l", "secrete*crp_max*hill(PSTAT_l, crp_half)", "secretion")
    m.flow("CRP_s", "crp_in - crp_out*CRP_s", "production elsewhere and loss")
    m.move("CRP_s", "CRP_l", "to_tissue*CRP_s - to_serum*CRP_l", "exchange")
    m.flow("SR_s", "shed*CRP_s", "shedding of the receptor")
    m.let("crp_suppression", "100*(1 - CRP_s/CRP_s_0)", "%", "fall of C-reactive protein")


def _antibody(m: Builder) -> None:
    for p, place in PLACES.items():
        m.state(f"AB_{p}", "nmol/L", f"antibody, {place}")
        m.state(f"ABI_{p}", "nmol/L", f"antibody with interleukin 6, {place}")
        _bind(m, f"IL6_{p}", f"AB_{p}", f"ABI_{p}", "ab_on", "ab_off")
        m.flow(f"AB_{p}", f"-ab_out*AB_{p}", "loss")
        m.flow(f"ABI_{p}", f"-ab_out*ABI_{p}", "loss")
    m.state("AB_p", "nmol/L", "antibody, periphery")
    m.move("AB_s", "AB_p", "q_periphery/v_serum*AB_s - q_periphery/v_periphery*AB_p", "exchange")
    for name in ("AB", "ABI"):
        for p, place in (("l", "liver"), ("g", "gut")):
            m.move(
                f"{name}_s", f"{name}_{p}", f"q_{place}/v_serum*{name}_s - q_{place}/v_{place}*{name}_{p}", "exchange"
            )
    m.input("antibody", "antibody", "AB_s", "mg", scale="per_mg")
