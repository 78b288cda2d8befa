"""Tocilizumab: antibody to the interleukin 6 receptor, membrane and soluble.

While free drug is there the receptor is full and serum interleukin 6 rises, since the receptor no longer clears it
(Nishimoto 2008); little of the antibody reaches the brain. No pharmacokinetics in CRS were found: those of rheumatoid
arthritis are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder
from icans.mechanism.modules.drugs._pk import antibody, brain

if TYPE_CHECKING:
    from icans.mechanism.patient import Options


def declare(m: Builder, options: Options) -> None:
    """Declare the therapy."""
    m.drug("tocilizumab", "Tocilizumab", "interleukin 6 receptor", "Frey 2010, 10.1177/0091270009350623",
           "Nishimoto 2008, 10.1182/blood-2008-05-155846")  # fmt: skip
    antibody(m, "toci", "tocilizumab")
    m.flow("TOCI_C", "-toci_vmax*hill(toci_conc, toci_km)", "saturable elimination with the receptor")
    m.act("inh_il6r", "hill(toci_conc, toci_kd)")
    m.act("inh_il6r_cns", f"hill({brain(m, 'toci', 'tocilizumab', options)}, toci_kd)")
