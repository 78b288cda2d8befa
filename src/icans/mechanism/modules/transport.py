"""Transport of one solute through brain interstitium and cerebrospinal fluid.

:func:`fluids` declares what all solutes share (flows, permeability of the barriers); :func:`solute` declares one
solute in the interstitial fluid (ISF) of every region, the lateral and the third and fourth ventricles, the cisterna
magna and the cranial and spinal subarachnoid space. Given the barrier, the plasma and the drugs the system is linear,
so that its healthy steady state has a closed form for any parameters; cytokines start from it.

Sources: volumes and flows as in Chang et al. 2019, 10.1007/s10928-019-09641-8, and Saleh et al. 2021,
10.1007/s10928-021-09768-7; size scaling of permeability after Felgenhauer 1974; carriers after Banks et al. 1995,
10.1159/000097202.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from icans.mechanism.declare import Builder

#: A text, or a function of the region that gives one.
PerRegion = str | Callable[[str], str]

#: Compartments of cerebrospinal fluid, in the order of the state vector.
FLUIDS = {
    "lv": "lateral ventricles", "tfv": "third and fourth ventricle", "cm": "cisterna magna",
    "sasc": "cranial subarachnoid space", "sass": "spinal subarachnoid space (lumbar fluid)",
}  # fmt: skip

# Flows into each of them, by source, mL/h; {e} is "" or, in health, "_0".
_INFLOW = {
    "lv": {"brain": "isf_to_lv{e}"},
    "tfv": {"lv": "lv_out{e}", "brain": "isf_to_tfv{e}"},
    "cm": {"tfv": "tfv_out{e}"},
    "sasc": {"cm": "(1 - cns_spinal)*tfv_out{e}", "brain": "(isf_to_sas{e} + pvs_flow{e})", "sass": "cns_mix"},
    "sass": {"cm": "cns_spinal*tfv_out{e}", "sasc": "cns_mix"},
}
# Flows out of them.
_OUTFLOW = {
    "lv": "lv_out{e}",
    "tfv": "tfv_out{e}",
    "cm": "tfv_out{e}",
    "sasc": "(1 - cns_spinal)*tfv_out{e} + isf_to_sas{e} + pvs_flow{e} + cns_mix",
    "sass": "cns_spinal*tfv_out{e} + cns_mix",
}
# Permeability-surface for albumin: the choroid plexus in the ventricles, the leptomeninges around brain and cord.
_EXCHANGE = {
    "lv": "cp_ps{e}*cns_cp_lv",
    "tfv": "cp_ps{e}*(1 - cns_cp_lv)",
    "cm": "0",
    "sasc": "lm_ps{e}*cns_v_sasc/(cns_v_sasc + cns_v_sass)",
    "sass": "lm_ps{e}*cns_v_sass/(cns_v_sasc + cns_v_sass)",
}


def fluids(m: Builder, regions: Sequence[str]) -> None:
    """Declare flows and permeabilities that every solute uses. Rates per mL of ISF are the same in every region.

    Needs the definitions ``bar_loss_<region>`` and ``bar_loss_mean`` (1 - integrity; with ``_0``: in health) and
    ``share_<region>`` (part of the brain's volume) of the barrier, and ``glymphatic`` and ``glymphatic_0``.
    """
    for end in ("", "_0"):
        m.let(f"isf_flow{end}", f"cns_q_isf*cns_flow*glymphatic{end}", "mL/h", "bulk flow of interstitial fluid")
        m.let(
            f"pvs_flow{end}",
            f"cns_q_pvs*cns_flow*glymphatic{end}",
            "mL/h",
            "perivascular exchange with the subarachnoid space",
        )
        m.let(f"isf_to_lv{end}", f"isf_flow{end}*cns_isf_ventricles*cns_isf_lv", "mL/h", "of it to lateral ventricles")
        m.let(f"isf_to_tfv{end}", f"isf_flow{end}*cns_isf_ventricles*(1 - cns_isf_lv)", "mL/h",
              "of it to third and fourth ventricle")  # fmt: skip
        m.let(f"isf_to_sas{end}", f"isf_flow{end}*(1 - cns_isf_ventricles)", "mL/h",
              "of it to the cranial subarachnoid space")  # fmt: skip
        m.let(f"lv_out{end}", f"csf_flow*cns_csf_lv + isf_to_lv{end}", "mL/h", "lateral to third ventricle")
        m.let(f"tfv_out{end}", f"csf_flow + isf_to_lv{end} + isf_to_tfv{end}", "mL/h", "ventricles to cisterna magna")
        m.let(f"cp_ps{end}", f"cns_ps_cp*(1 + (cns_open_cp - 1)*bar_loss_mean{end})", "mL/h",
              "albumin permeability-surface of the choroid plexus")  # fmt: skip
        m.let(f"lm_ps{end}", f"cns_ps_lm*(1 + (cns_open_cp - 1)*bar_loss_mean{end})", "mL/h",
              "albumin permeability-surface of the leptomeninges")  # fmt: skip
        for r in regions:
            m.let(f"bbb_shut_{r}{end}", f"cns_ps_bbb/cns_v_isf*(1 - bar_loss_{r}{end})", "1/h",
                  f"albumin transfer through intact barrier per mL ISF, {r}")  # fmt: skip
            m.let(f"bbb_open_{r}{end}", f"cns_ps_bbb/cns_v_isf*cns_open_bbb*bar_loss_{r}{end}", "1/h",
                  f"albumin transfer through open barrier per mL ISF, {r}")  # fmt: skip
        m.let(f"isf_k{end}", f"isf_flow{end}/cns_v_isf", "1/h", "bulk flow per mL of ISF")
        m.let(f"pvs_k{end}", f"pvs_flow{end}/cns_v_isf", "1/h", "perivascular exchange per mL of ISF")
    m.let("csf_flow", "cns_q_csf*cns_flow", "mL/h", "production of cerebrospinal fluid")


@dataclass(frozen=True, slots=True)
class _Solute:
    """What :func:`solute` was asked for, as text."""

    name: str
    label: str
    unit: str
    regions: tuple[str, ...]
    plasma: str
    baseline: str | None
    degraded: str
    efflux: str
    sieving: str | None

    def entry(self, region: str, end: str = "") -> str:
        """Coefficient of the plasma concentration in the ISF of a region, 1/h per mL."""
        if self.sieving is None:
            return f"({self._diffusion(region, end)})"
        return f"(1 - {self.sieving})*isf_k{end}*(bbb_shut_{region}{end} + bbb_open_{region}{end})*cns_v_isf/cns_ps_bbb"

    def leaving(self, region: str, end: str = "") -> str:
        """Coefficient of the loss from the ISF of a region, 1/h."""
        back = f"{self._diffusion(region, end)} + " if self.sieving is None else ""
        return f"{back}isf_k{end} + pvs_k{end} + {self.efflux} + {self.degraded}"

    def _diffusion(self, region: str, end: str) -> str:
        return f"bbb_shut_{region}{end}*{self.name}_rel + bbb_open_{region}{end}*{self.name}_rel_open"

    def exchange(self, place: str, end: str = "") -> str:
        """Permeability-surface towards plasma of a CSF compartment, mL/h."""
        return f"{_EXCHANGE[place].format(e=end)}*{self.name}_rel"


def solute(
    m: Builder,
    name: str,
    *,
    plasma: str,
    regions: Sequence[str],
    baseline: str | None = None,
    unit: str = "pg/mL",
    label: str = "",
    relative: str | None = None,
    produced: PerRegion | None = None,
    basal: str = "0",
    degraded: str = "0",
    efflux: str = "0",
    influx: str | None = None,
    influx_0: str = "0",
    lost: PerRegion | None = None,
    sieving: str | None = None,
) -> None:
    """Declare one solute: states ``<name>_isf_<region>`` and ``<name>_lv`` to ``<name>_sass``, mean ``<name>_brain``.

    Parameters
    ----------
    plasma
        Free concentration in plasma, same unit as the solute.
    baseline
        The same in health, an expression of parameters: the solute starts from its steady state. None: it starts at 0.
    relative
        Permeability relative to albumin; None: from the parameter ``radius_<name>`` (hydrodynamic radius, nm).
    produced
        Production in ISF beyond the basal one, unit/h, zero in health; one text, or a function of the region.
    basal
        Basal production in ISF, unit/h, an expression of parameters.
    degraded, efflux
        Degradation (ISF and CSF) and carrier efflux (ISF), 1/h; expressions of parameters.
    influx, influx_0
        Influx by a carrier per mL of ISF, unit/h, now and in health.
    lost
        Further first-order loss in ISF (binding to a target), 1/h, zero in health.
    sieving
        Reflection coefficient: entry into ISF by convection, ``(1 - sieving) Q_ISF C_p``, in place of diffusion.
    """
    given = _Solute(name, label or name, unit, tuple(regions), plasma, baseline, degraded, efflux, sieving)
    m.let(f"{name}_rel", relative or f"power(radius_{name}/radius_ALB, -cns_size_exponent)", "1",
          f"permeability of {given.label} relative to albumin")  # fmt: skip
    m.let(f"{name}_rel_open", f"power({name}_rel, 1 - cns_size_lost)", "1", "the same where the barrier is open")
    for r in regions:
        state = f"{name}_isf_{r}"
        m.state(state, unit, f"{given.label}, interstitial fluid of {r}", "0" if baseline is None else f"{state}_0")
        m.flow(state, f"{given.entry(r)}*({plasma})", "entry through the blood-brain barrier")
        m.flow(state, f"-({given.leaving(r)})*{state}", "return to blood, bulk flow, degradation")
        m.flow(state, f"pvs_k*{name}_sasc", "perivascular inflow")
        for text, meaning in ((influx, "carrier"), (_at(produced, r), "production by glia"),
                              (basal if basal != "0" else None, "basal production")):  # fmt: skip
            if text:
                m.flow(state, text, meaning)
        if lost is not None:
            m.flow(state, f"-({_at(lost, r)})*{state}", "binding")
    m.let(f"{name}_brain", _mean(name, regions), unit, f"{given.label}, mean of the interstitial fluid")
    _fluid_rates(m, given)
    if baseline is not None:
        _steady_state(m, given, basal, influx_0)


def enter(m: Builder, name: str, plasma: str, regions: Sequence[str]) -> None:
    """Let more of a solute that is already declared enter from plasma: the same molecule, given as a drug.

    ``plasma``: its concentration there, in the solute's unit.
    """
    given = _Solute(name, name, "", tuple(regions), plasma, None, "0", "0", None)
    for r in regions:
        m.flow(f"{name}_isf_{r}", f"{given.entry(r)}*({plasma})", "entry of the drug")
    for place, exchange in _EXCHANGE.items():
        if exchange != "0":
            m.flow(f"{name}_{place}", f"{given.exchange(place)}/cns_v_{place}*({plasma})", "entry of the drug")


def _fluid_rates(m: Builder, given: _Solute) -> None:
    name = given.name
    for place, meaning in FLUIDS.items():
        state = f"{name}_{place}"
        m.state(state, given.unit, f"{given.label}, {meaning}", "0" if given.baseline is None else f"{state}_0")
        inflow = " + ".join(f"{flow.format(e='')}*{name}_{source}" for source, flow in _INFLOW[place].items())
        m.flow(state, f"({inflow})/cns_v_{place}", "inflow")
        m.flow(state, f"-({_OUTFLOW[place].format(e='')})/cns_v_{place}*{state}", "outflow")
        if _EXCHANGE[place] != "0":
            m.flow(state, f"{given.exchange(place)}/cns_v_{place}*({given.plasma} - {state})", "blood-CSF barrier")
        if given.degraded != "0":
            m.flow(state, f"-({given.degraded})*{state}", "degradation")


def _steady_state(m: Builder, given: _Solute, basal: str, influx: str) -> None:
    """Definitions ``<state>_0``: the healthy steady state.

    Every concentration is ``a + b c`` with c that of the cranial subarachnoid space, whose own balance gives c.
    """
    name, blood = given.name, given.baseline
    a: dict[str, str] = {"sasc": "0"}
    b: dict[str, str] = {"sasc": "1"}
    for r in given.regions:
        m.let(f"{name}_loss_{r}_0", given.leaving(r, "_0"), "1/h", "loss from the ISF in health")
        m.let(f"{name}_gain_{r}_0", f"{given.entry(r, '_0')}*({blood}) + {basal} + {influx}", f"{given.unit}/h",
              "gain of the ISF in health")  # fmt: skip
    a["brain"] = _own(m, f"{name}_a_brain", " + ".join(
        f"share_{r}*{name}_gain_{r}_0/{name}_loss_{r}_0" for r in given.regions))  # fmt: skip
    b["brain"] = _own(m, f"{name}_b_brain", " + ".join(
        f"share_{r}*pvs_k_0/{name}_loss_{r}_0" for r in given.regions))  # fmt: skip
    for place in ("lv", "tfv", "cm", "sass", "sasc"):
        inflow = {source: flow.format(e="_0") for source, flow in _INFLOW[place].items()}
        through = given.exchange(place, "_0")
        total = f"({_OUTFLOW[place].format(e='_0')} + {through} + ({given.degraded})*cns_v_{place})"
        constant = " + ".join(f"{flow}*{a[source]}" for source, flow in inflow.items() if a[source] != "0")
        constant += f" + {through}*({blood})"
        slope = " + ".join(f"{flow}*{b[source]}" for source, flow in inflow.items())
        if place == "sasc":
            m.let(f"{name}_sasc_0", f"({constant})/({total} - ({slope}))", given.unit, "steady state in health")
        else:
            a[place] = _own(m, f"{name}_a_{place}", f"({constant})/{total}")
            b[place] = _own(m, f"{name}_b_{place}", f"({slope})/{total}")
            m.let(f"{name}_{place}_0", f"{a[place]} + {b[place]}*{name}_sasc_0", given.unit, "steady state in health")
    for r in given.regions:
        m.let(f"{name}_isf_{r}_0", f"({name}_gain_{r}_0 + pvs_k_0*{name}_sasc_0)/{name}_loss_{r}_0", given.unit,
              "steady state in health")  # fmt: skip
    m.let(f"{name}_brain_0", f"{a['brain']} + {b['brain']}*{name}_sasc_0", given.unit, "steady state in health")


def _own(m: Builder, name: str, text: str) -> str:
    m.let(name, text, "1", "coefficient of the healthy steady state")
    return name


def _at(text: PerRegion | None, region: str) -> str | None:
    return text(region) if callable(text) else text


def _mean(name: str, regions: Sequence[str]) -> str:
    return " + ".join(f"share_{r}*{name}_isf_{r}" for r in regions)
