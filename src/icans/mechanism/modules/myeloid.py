"""Monocytes and macrophages: resting, activated, and how they are restrained.

T cells license them (interferon gamma, GM-CSF, CD40 ligand on contact, danger signals of killed tumour); what the
activated cells make themselves (TNF and IL-1 nearby, IL-6 through STAT3) only multiplies that licence. Positive
feedback is so bounded by construction: without engaged T cells the product is zero and the only steady state is rest.
Activated cells become refractory, as after endotoxin, which ends the syndrome before the T cells are gone. Routes:
Santurio 2025 (10.1371/journal.pcbi.1012908); bistable alternatives: Kareva and Gevertz 2023.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder

if TYPE_CHECKING:
    from icans.mechanism.patient import Options


def declare(m: Builder, options: Options) -> None:
    """Declare the module."""
    m.module("myeloid", "Myeloid activation", "Dobreva 2021, human endotoxin challenge",
             "Santurio 2025, 10.1371/journal.pcbi.1012908", "Rao 2023, COVID-19 QSP model")  # fmt: skip
    m.state("MYE_R", "1", "resting monocytes and macrophages, relative", "1")
    m.state("MYE_A", "1", "activated monocytes and macrophages, relative")
    m.state("MYE_T", "1", "spent monocytes and macrophages, refractory for a while, relative")
    m.state(
        "TREG", "1", "regulatory T cells, relative to before lymphodepletion", "1 - treg_ld*hill(ld_0, treg_ld_half)"
    )
    m.let(
        "myeloid_licence",
        "(1 - mye_jak*inh_jak)*(mye_w_ifng*hill(ifng_excess, mye_ifng_half)"
        " + mye_w_gmcsf*hill(gmcsf_excess, mye_gmcsf_half))"
        " + mye_w_contact*hill(engaged, mye_contact_half)"
        " + mye_w_damp*hill(damp, mye_damp_half)",
        "1", "activation that T cells and killed tumour license",
    )  # fmt: skip
    loops = (
        "1 + mye_loop*(mye_w_tnf*(1 - inh_tnf)*hill(MYE_A, mye_local_half) + mye_w_il1*il1_local"
        " + mye_w_il6*hill(il6_excess, mye_il6_half))"
    )
    m.let("myeloid_gain", loops if options.feedback else "1", "1", "amplification by what the cells make themselves")
    m.let("il10_restraint", "1/(1 + pos(IL10 - il10_base)/il10_half)", "1", "what interleukin 10 leaves")
    m.let("treg_restraint", "(1 + treg_power)/(1 + treg_power*TREG)", "1", "what regulatory T cells leave")
    m.let(
        "myeloid_rate",
        "mye_activation*power(myeloid_licence*myeloid_gain, mye_steep)*treg_restraint"
        "*(mye_il10_floor + (1 - mye_il10_floor)*il10_restraint)*(1 - mye_steroid*steroid)",
        "1/h", "activation of resting cells",
    )  # fmt: skip
    m.flow("TREG", "treg_turnover*(1 - TREG)", "renewal")
    m.flow("TREG", "-treg_turnover*treg_ld*hill(LD, treg_ld_half)", "lymphodepletion")
    m.flow("TREG", "treg_turnover*treg_il2*hill(pos(IL2 - il2_base), treg_il2_half)", "growth on interleukin 2")
    recruit = "1 + mye_recruit*hill(pos(MCP1 - mcp1_base), mye_mcp1_half)" if options.feedback else "1"
    m.flow("MYE_R", f"mye_turnover*({recruit} - MYE_R - MYE_A - MYE_T)", "renewal; recruitment by MCP-1")
    m.move("MYE_R", "MYE_A", "myeloid_rate*MYE_R", "activation")
    m.move("MYE_A", "MYE_T", "mye_decay*MYE_A", "exhaustion: activated cells become refractory")
    m.move("MYE_R", "MYE_T", "mye_steroid_shift*steroid*MYE_R", "glucocorticoids turn resting cells refractory")
    m.flow("MYE_T", "-mye_recovery*MYE_T", "death of refractory cells, which makes room for new ones")
