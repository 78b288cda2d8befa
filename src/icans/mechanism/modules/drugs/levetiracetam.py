"""Levetiracetam: antiepileptic, usual prophylaxis of seizures in ICANS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder
from icans.mechanism.modules.drugs._pk import brain_ratio, depot, two_compartments, vein

if TYPE_CHECKING:
    from icans.mechanism.patient import Options


def declare(m: Builder, options: Options) -> None:
    """Declare the therapy."""
    m.drug("levetiracetam", "Levetiracetam", "seizures (SV2A)", "Bilbao-Meseguer 2021, 10.3390/pharmaceutics13101690")
    two_compartments(m, "leve", "levetiracetam")
    vein(m, "leve", "levetiracetam")
    depot(m, "leve", "levetiracetam", "po", "levetiracetam", rate="leve_ka", f="leve_f")
    m.act("inh_seizure", f"leve_max*hill({brain_ratio(m, 'leve', 'levetiracetam')}, leve_half)")
