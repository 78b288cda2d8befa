"""Emapalumab: antibody to interferon gamma, free and bound to its receptor.

Clearance rises with total interferon gamma, of which the drug is a part of the reason (bound cytokine stays).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder
from icans.mechanism.modules.drugs._pk import antibody, brain

if TYPE_CHECKING:
    from icans.mechanism.patient import Options


def declare(m: Builder, options: Options) -> None:
    """Declare the therapy."""
    m.drug("emapalumab", "Emapalumab", "interferon gamma", "Brossard 2025, 10.1111/cts.70163",
           "Jacqmin 2022, Br J Clin Pharmacol 88:2128")  # fmt: skip
    antibody(m, "emap", "emapalumab")
    m.flow("EMAP_C", "-emap_cl_ifng*power(IFNG/emap_ifng_ref, emap_ifng_power)*emap_conc",
           "elimination with the cytokine")  # fmt: skip
    m.act("inh_ifng", "hill(emap_conc, emap_half)")
    m.act("inh_ifng_cns", f"hill({brain(m, 'emap', 'emapalumab', options)}, emap_half)")
