"""Cytokines in plasma: from engaged T cells, activated myeloid cells and endothelium; lost by degradation and uptake.

Interleukin 6 signals through its membrane receptor and, bound to the soluble one, through gp130 of cells that have no
receptor; soluble gp130 takes up the complex (quasi-equilibrium with the affinities of Dwivedi 2014,
10.1038/psp.2013.64). Blocking the receptor ends the receptor's share of clearance: IL-6 rises while its effect falls
(Nishimoto 2008, Blood 112:3959). Baselines are steady states without CAR T cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder

if TYPE_CHECKING:
    from icans.mechanism.patient import Options


def declare(m: Builder, options: Options) -> None:
    """Declare the module."""
    m.module("cytokines", "Cytokines in plasma", "Dwivedi 2014, 10.1038/psp.2013.64", "Dobreva 2021",
             "Hardiansyah and Ng 2019, 10.1111/cts.12636", "Nishimoto 2008, Blood 112:3959")  # fmt: skip
    for name, meaning in (
        ("inh_il6r", "occupancy of the IL-6 receptor, membrane and soluble, in plasma"),
        ("inh_il6", "share of IL-6 that is neutralised"),
        ("inh_il1", "share of IL-1 signalling that is blocked"),
        ("inh_ifng", "share of interferon gamma that is neutralised"),
        ("inh_gmcsf", "share of GM-CSF that is neutralised"),
        ("inh_tnf", "share of TNF signalling that is blocked"),
        ("inh_jak", "inhibition of JAK1/2"),
        ("steroid", "glucocorticoid effect, share of the largest"),
    ):
        m.handle(name, meaning)
    _from_t_cells(m)
    _from_myeloid_cells(m)
    _interleukin_6(m)
    for state, analyte in (
        ("IL6", "il_6"), ("IL1B", "il_1b"), ("IL1RA", "il_1ra"), ("IFNG", "ifn_g"), ("TNF", "tnf"),
        ("GMCSF", "gm_csf"), ("IL10", "il_10"), ("IL2", "il_2"), ("MCP1", "mcp_1"), ("IL8", "il_8"),
    ):  # fmt: skip
        m.observe(state, analyte, "pg/mL")
    m.observe("SIL6R", "sil_6r", "ng/mL")
    m.observe("SGP130", "sgp130", "ng/mL")


def _cytokine(m: Builder, state: str, meaning: str, *sources: tuple[str, str], kept: str = "") -> None:
    """A cytokine with its basal production, its sources, and first-order loss at ``<name>_out`` (less what is kept)."""
    name = state.lower()
    m.state(state, "pg/mL", f"{meaning} in plasma", f"{name}_base")
    m.flow(state, f"{name}_out*{name}_base", "basal production")
    for text, said in sources:
        m.flow(state, text, said)
    m.flow(state, f"-{name}_out*{kept + '*' if kept else ''}{state}", "degradation and uptake")


def _from_t_cells(m: Builder) -> None:
    m.let("t_cell_output", "engaged*(1 - tcell_steroid*steroid)", "/uL", "engaged cells that release cytokines")
    m.let("ifng_restraint", "ifng_il10_floor + (1 - ifng_il10_floor)*il10_restraint", "1", "what IL-10 leaves")
    _cytokine(
        m, "IFNG", "interferon gamma",
        ("ifng_car*t_cell_output*ifng_restraint*treg_restraint*(1 + ifng_il12*MYE_A)",
         "engaged CAR T cells, helped by IL-12 and IL-18 of myeloid cells"),
        kept="(1 - ifng_bound_share*inh_ifng)",
    )  # fmt: skip
    _cytokine(m, "GMCSF", "GM-CSF", ("gmcsf_car*t_cell_output", "engaged CAR T cells"),
              kept="(1 - gmcsf_bound_share*inh_gmcsf)")  # fmt: skip
    m.let("ifng_excess", "pos(IFNG*(1 - inh_ifng) - ifng_base)", "pg/mL", "free interferon gamma above baseline")
    m.let("gmcsf_excess", "pos(GMCSF*(1 - inh_gmcsf) - gmcsf_base)", "pg/mL", "free GM-CSF above baseline")
    _cytokine(m, "IL2", "interleukin 2", ("il2_car*t_cell_output*treg_restraint", "engaged CAR T cells"))
    _cytokine(
        m, "IL10", "interleukin 10", ("il10_car*t_cell_output", "engaged CAR T cells"),
        ("il10_mye*MYE_A*(1 + il10_steroid*steroid)", "activated myeloid cells"),
    )  # fmt: skip


def _from_myeloid_cells(m: Builder) -> None:
    m.let("myeloid_output", "MYE_A*(1 - mye_output_steroid*steroid)", "1", "activated cells that release cytokines")
    _cytokine(
        m, "TNF", "tumour necrosis factor", ("tnf_car*t_cell_output", "engaged CAR T cells"),
        ("tnf_mye*myeloid_output*il10_restraint", "activated myeloid cells"),
    )  # fmt: skip
    _cytokine(m, "IL1B", "interleukin 1 beta",
              ("il1b_mye*myeloid_output*il10_restraint", "activated myeloid cells"))  # fmt: skip
    _cytokine(
        m, "IL1RA", "interleukin 1 receptor antagonist", ("il1ra_mye*MYE_A", "activated myeloid cells"),
        ("il1ra_il6*hill(il6_excess, il1ra_il6_half)", "liver, on interleukin 6"),
    )  # fmt: skip
    _cytokine(m, "MCP1", "MCP-1", ("mcp1_mye*myeloid_output", "activated myeloid cells"),
              ("mcp1_endo*(ENDO - endo_0)", "endothelium"))  # fmt: skip
    _cytokine(m, "IL8", "interleukin 8", ("il8_mye*myeloid_output", "activated myeloid cells"),
              ("il8_endo*(ENDO - endo_0)", "endothelium"))  # fmt: skip
    m.let("il1_excess", "pos(IL1B - il1b_base)", "pg/mL", "interleukin 1 above baseline")
    m.let(
        "il1_local",
        "(1 - inh_il1)*il1_excess/(il1_excess + il1_half*(1 + pos(IL1RA - il1ra_base)/il1ra_half))",
        "1", "share of full IL-1 signalling, competing with the antagonist",
    )  # fmt: skip


def _interleukin_6(m: Builder) -> None:
    m.state("SIL6R", "ng/mL", "soluble IL-6 receptor", "sil6r_base")
    m.flow("SIL6R", "sil6r_out*sil6r_base*(1 + sil6r_shed*MYE_A)", "shedding")
    m.flow("SIL6R", "-sil6r_out*(1 - sil6r_bound_share*inh_il6r)*SIL6R", "loss, less where an antibody holds it")
    m.state("SGP130", "ng/mL", "soluble gp130", "sgp130_base")
    m.flow("SGP130", "sgp130_out*sgp130_base*(1 + sgp130_rise*MYE_A)", "release")
    m.flow("SGP130", "-sgp130_out*SGP130", "loss")
    m.let("il6_free", "IL6*(1 - inh_il6)", "pg/mL", "IL-6 that no antibody holds")
    m.let("sil6r_free", "SIL6R*(1 - inh_il6r)", "ng/mL", "soluble receptor that no antibody holds")
    m.let("il6_bound", "hill(sil6r_free, il6_sil6r_kd)", "1", "share of IL-6 on the soluble receptor")
    m.let("gp130_spared", "sgp130_kd/(sgp130_kd + SGP130)", "1", "share of the complex that soluble gp130 leaves")
    m.let("il6_trans_base", "hill(sil6r_base, il6_sil6r_kd)*sgp130_kd/(sgp130_kd + sgp130_base)", "1",
          "share of IL-6 that signals in trans at baseline")  # fmt: skip
    m.let("il6_active", "il6_free*(1 - jak_il6*inh_jak)", "pg/mL", "free IL-6, as far as its signal passes JAK")
    m.let("il6_trans", "il6_active*il6_bound*gp130_spared/il6_trans_base", "pg/mL",
          "trans-signalling, as the IL-6 that would cause it at baseline receptors")  # fmt: skip
    m.let("il6_classic", "il6_active*(1 - inh_il6r)*(1 - il6_bound)/(1 - hill(sil6r_base, il6_sil6r_kd))", "pg/mL",
          "classic signalling, likewise")  # fmt: skip
    m.let("il6_signal", "(1 - il6_trans_weight)*il6_classic + il6_trans_weight*il6_trans", "pg/mL",
          "effective IL-6, both ways of signalling")  # fmt: skip
    m.let("il6_excess", "pos(il6_signal - il6_base)", "pg/mL", "effective IL-6 above baseline")
    m.let("il6_trans_excess", "pos(il6_trans - il6_base)", "pg/mL", "trans-signalling above baseline")
    _cytokine(
        m, "IL6", "interleukin 6",
        ("il6_mye*MYE_A*hill(MYE_A, il6_mye_half)*(1 + il6_il1*il1_local)*(1 - il6_steroid*steroid)",
         "activated myeloid cells, helped by IL-1"),
        ("il6_endo*(ENDO - endo_0)*(ENDO - endo_0)*(1 - il6_steroid*steroid)", "endothelium"),
        kept="(1 - il6_receptor_share*inh_il6r)*(1 - il6_bound_share*inh_il6)",
    )  # fmt: skip
