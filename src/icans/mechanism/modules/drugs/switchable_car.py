"""A CAR that works only through an adaptor molecule: its activity follows the dose of the adaptor. Hypothetical here.

With this module in the model and no adaptor given the cells do nothing: the adaptor is the therapy. Withholding it is
the safety switch; ``adap_gate`` set to 0 stops what still arrives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder
from icans.mechanism.modules.drugs._pk import one_compartment

if TYPE_CHECKING:
    from icans.mechanism.patient import Options


def declare(m: Builder, options: Options) -> None:
    """Declare the therapy."""
    m.drug("switchable_car", "Switchable CAR (adaptor)", "CAR signalling", hypothetical=True)
    one_compartment(m, "adap", "adaptor")
    m.state("ADAP_BAG", "mg", "adaptor on its way")
    m.input("switchable_car_iv", "switchable_car", "ADAP_BAG", "mg", routes=("iv",))
    m.move("ADAP_BAG", "ADAP_C", "adap_in*ADAP_BAG", "entry", gain="adap_gate")
    for handle in ("inh_car_function", "inh_car_growth"):
        m.act(handle, "1 - hill(adap_conc, adap_half)")
