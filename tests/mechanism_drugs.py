"""A therapy by itself: its pharmacokinetics with everything else of the patient held still."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from icans.mechanism.declare import Builder
from icans.mechanism.model import PatientModel, assemble
from icans.mechanism.modules.cells import car_pools
from icans.mechanism.parameters import read_parameters
from icans.mechanism.patient import WHOLE, Options

HANDLES = (
    "inh_car_growth", "inh_car_function", "inh_il6r", "inh_il6", "inh_il1", "inh_ifng", "inh_gmcsf", "inh_tnf",
    "inh_jak", "steroid", "endo_protect", "tie2_support", "inh_mmp", "s1p_support", "inh_il6r_cns", "inh_il1_cns",
    "inh_ifng_cns", "inh_gmcsf_cns", "steroid_cns", "inh_seizure", "inh_jak_cns",
)  # fmt: skip
FLOWS = (
    "bbb_shut_brain", "bbb_open_brain", "isf_k", "pvs_k", "isf_flow", "pvs_flow", "isf_to_lv", "isf_to_tfv",
    "isf_to_sas", "lv_out", "tfv_out", "cp_ps", "lm_ps",
)  # fmt: skip


@cache
def drug_alone(name: str) -> PatientModel:
    """The module of a drug with a sealed brain, constant cytokines and CAR T cells that only the drug touches."""
    m = Builder()
    m.module("still", "Everything else")
    for handle in HANDLES:
        m.handle(handle, "")
    for flow in FLOWS:
        m.let(flow, "0")
    m.let("share_brain", "1")
    m.let("il6_signal", "il6_base")
    m.let("IFNG", "ifng_base")
    options = Options(drugs=(name,), regions=WHOLE, solutes=("ALB",))
    if name == "rimiducid":
        for pool in car_pools(options):
            m.state(pool, "/uL", "", "1")
    import_module(f"icans.mechanism.modules.drugs.{name}").declare(m, options)
    return assemble(m, read_parameters())
