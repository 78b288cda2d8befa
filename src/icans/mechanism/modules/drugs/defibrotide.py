"""Defibrotide: steadies the endothelium; little effect on neurotoxicity in its one trial (Jacobson 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder
from icans.mechanism.modules.drugs._pk import one_compartment, vein

if TYPE_CHECKING:
    from icans.mechanism.patient import Options


def declare(m: Builder, options: Options) -> None:
    """Declare the therapy."""
    m.drug("defibrotide", "Defibrotide", "endothelium", "Jacobson 2023, 10.1182/bloodadvances.2023009961")
    one_compartment(m, "defi", "defibrotide")
    vein(m, "defi", "defibrotide")
    m.state("DEFI_E", "mg/L", "defibrotide where it acts")
    m.flow("DEFI_E", "defi_ke0*(defi_conc - DEFI_E)", "the effect follows plasma")
    m.act("endo_protect", "defi_max*hill(DEFI_E, defi_half)")
