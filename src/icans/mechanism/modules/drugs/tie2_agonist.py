"""An agonist of Tie2. Hypothetical: nothing of its kind has been given for ICANS; it shows what the lever could do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder
from icans.mechanism.modules.drugs._pk import antibody

if TYPE_CHECKING:
    from icans.mechanism.patient import Options


def declare(m: Builder, options: Options) -> None:
    """Declare the therapy."""
    m.drug("tie2_agonist", "Tie2 agonist", "Tie2", "Dirks and Meibohm 2010, 10.2165/11535960-000000000-00000",
           hypothetical=True)  # fmt: skip
    antibody(m, "tie2", "tie2_agonist")
    m.act("tie2_support", "tie2_max*hill(tie2_conc, tie2_half)")
