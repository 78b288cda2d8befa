"""A modulator of S1P receptors that moves like siponimod. Hypothetical in ICANS.

Only the support of tight junctions is modelled; such drugs also keep lymphocytes in lymph nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder
from icans.mechanism.modules.drugs._pk import depot, two_compartments

if TYPE_CHECKING:
    from icans.mechanism.patient import Options


def declare(m: Builder, options: Options) -> None:
    """Declare the therapy."""
    m.drug("s1p_modulator", "S1P modulator", "S1P receptor 1 of brain endothelium", "Huth 2019", hypothetical=True)
    two_compartments(m, "s1pm", "S1P modulator")
    depot(m, "s1pm", "S1P modulator", "po", "s1p_modulator", rate="s1pm_ka", f="s1pm_f", lag="s1pm_lag")
    m.act("s1p_support", "s1pm_max*hill(s1pm_conc, s1pm_half)")
