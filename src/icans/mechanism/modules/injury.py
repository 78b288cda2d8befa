"""What inflammation does to the brain: glia, transmitters, neurons, perfusion, markers, oedema; latent severity.

``encephalopathy`` is 0 in health; about 1, 2, 3 and 4 are where ICANS of that grade begins for a typical patient under
ASTCT. :mod:`icans.mechanism.observe` cuts it by scheme and patient.

Sources: Santomasso 2018, 10.1158/2159-8290.CD-17-1319 (excitatory agonists in CSF); Faulhaber 2022, PMC8833245
(capillaries plugged by leucocytes); Gust 2023, Blood Adv 7:1001, and Butt 2022, 10.1001/jamaoncol.2022.3738 (GFAP and
NfL); Paris 2022, PMC9007607 (NfL from neuron to CSF to blood). No model of these links was found; gains are calibrated.
What glia make only multiplies what comes from outside the brain, so that without it rest is the only steady state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder

if TYPE_CHECKING:
    from icans.mechanism.patient import Options

#: Marker, its full name, what releases more of it.
MARKERS = (
    ("GFAP", "glial fibrillary acidic protein", "ASTRO", "gfap"),
    ("NFL", "neurofilament light chain", "AXON", "nfl"),
)


def declare(m: Builder, options: Options) -> None:
    """Declare the module."""
    m.module("injury", "Glia, neurons, markers and latent severity", "Santomasso 2018, 10.1158/2159-8290.CD-17-1319",
             "Faulhaber 2022, PMC8833245", "Gust 2023, Blood Adv 7:1001", "Butt 2022, 10.1001/jamaoncol.2022.3738",
             "Paris 2022, PMC9007607")  # fmt: skip
    for name, meaning in (
        ("inh_il6r_cns", "occupancy of the IL-6 receptor in the brain"),
        ("inh_il1_cns", "block of IL-1 signalling in the brain, beyond that by the antagonist as a solute (IL1RA)"),
        ("inh_ifng_cns", "share of interferon gamma neutralised in the brain"),
        ("inh_gmcsf_cns", "share of GM-CSF neutralised in the brain"),
        ("inh_jak_cns", "inhibition of JAK1/2 in the brain"),
        ("steroid_cns", "glucocorticoid effect in the brain, share of the largest"),
        ("inh_seizure", "antiepileptic effect, share of the seizure hazard removed"),
    ):
        m.handle(name, meaning)
    _signals(m, options)
    _glia(m, options)
    _neurons(m)
    _markers(m)
    _oedema(m)
    _severity(m)


def _excess(name: str, options: Options) -> str:
    """Level in the brain above the healthy one; 0 where the solute is not followed."""
    return f"pos({name}_brain - {name}_brain_0)" if name in options.solutes else "0"


def _signals(m: Builder, options: Options) -> None:
    rival = _excess("IL1RA", options)
    il1 = _excess("IL1B", options)
    m.let("cns_il1", f"(1 - inh_il1_cns)*{il1}/({il1} + cns_il1_half*(1 + {rival}/cns_il1ra_half))", "1",
          "IL-1 signal in the brain, competing with the antagonist")  # fmt: skip
    for signal, name, blocks, meaning in (
        ("cns_il6", "IL6", "(1 - inh_il6r_cns)*(1 - inh_jak_cns)", "IL-6"),
        ("cns_ifng", "IFNG", "(1 - inh_ifng_cns)*(1 - inh_jak_cns)", "interferon gamma"),
        ("cns_gmcsf", "GMCSF", "(1 - inh_gmcsf_cns)*(1 - inh_jak_cns)", "GM-CSF"),
        ("cns_tnf", "TNF", "1", "TNF"),
    ):
        m.let(signal, f"hill({blocks}*{_excess(name, options)}, {signal}_half)", "1", f"{meaning} signal in the brain")


def _glia(m: Builder, options: Options) -> None:
    entered = " + ".join(f"share_{r}*(bbb_shut_{r}*IL6_rel + bbb_open_{r}*IL6_rel_open)" for r in options.regions)
    m.let("il6_entered",
          f"(({entered})*pos(IL6*(1 - inh_il6) - il6_base)"
          " + phi_IL6*carrier_IL6/cns_v_isf*km_IL6*(hill(IL6*(1 - inh_il6), km_IL6) - hill(il6_base, km_IL6)))"
          "/(isf_k + pvs_k + efflux_IL6 + kdeg_IL6)" if "IL6" in options.solutes else "0",
          "pg/mL", "IL-6 that blood alone would sustain in the brain, above baseline (quasi-steady)")  # fmt: skip
    m.let("glia_licence",
          "glia_w_blood*hill(pos(il6_entered)*(1 - inh_il6r_cns)*(1 - inh_jak_cns), cns_blood_half)"
          " + glia_w_ifng*cns_ifng + glia_w_gmcsf*cns_gmcsf + glia_w_leak*(bar_loss_mean - bar_loss_mean_0)",
          "1", "activation of microglia that T cells, IL-6 from blood and leaked plasma proteins license")  # fmt: skip
    m.let("glia_gain", "1 + glia_w_il1*cns_il1 + glia_w_il6*cns_il6 + glia_w_tnf*cns_tnf", "1",
          "amplification by cytokines that glia make themselves or that reach them from blood")  # fmt: skip
    m.let("glia_drive", "glia_licence*glia_gain", "1", "activation of microglia")
    m.state("MICRO", "1", "activated microglia, share")
    m.flow("MICRO", "micro_on*power(glia_drive, micro_steep)*glial_restraint*(1 - MICRO)", "activation")
    m.flow("MICRO", "-micro_off*MICRO", "return to rest")
    m.state("ASTRO", "1", "reactive astrocytes, share")
    m.flow("ASTRO", "astro_on*(astro_w_micro*MICRO + astro_w_il1*cns_il1 + astro_w_tnf*cns_tnf)"
           "*(1 - astro_steroid*steroid_cns)*(1 - ASTRO)", "activation")  # fmt: skip
    m.flow("ASTRO", "-astro_off*ASTRO", "return to rest")


def _neurons(m: Builder) -> None:
    m.state("PLUG", "1", "share of cortical capillaries plugged by leucocytes, beyond normal")
    m.flow("PLUG", "plug_on*pos(ENDO - endo_0)*MYE_A/(MYE_A + plug_mye_half)*(plug_max - PLUG)", "adhesion")
    m.flow("PLUG", "-plug_off*PLUG", "reperfusion")
    m.state("EXCITO", "1", "excess of glutamate and quinolinic acid outside cells, relative")
    m.flow("EXCITO", "excito_on*(MICRO + excito_leak*(bar_loss_mean - bar_loss_mean_0))", "release by microglia, leak")
    m.flow("EXCITO", "-excito_off*(1 - excito_astro*ASTRO)*EXCITO", "uptake by astrocytes, less where reactive")
    m.let("neuro_drive",
          "neuro_w_excito*hill(EXCITO, neuro_excito_half, 2) + neuro_w_micro*MICRO + neuro_w_plug*PLUG/plug_max"
          " + neuro_w_il1*cns_il1 + neuro_w_oedema*OEDEMA",
          "1", "load on neurons")  # fmt: skip
    m.state("NEURO", "1", "neuronal stress, 0 to 1")
    m.flow("NEURO", "neuro_on*neuro_drive*(1 - NEURO)", "stress")
    m.flow("NEURO", "-neuro_off*NEURO", "recovery")
    m.state("AXON", "1", "axons injured and not yet cleared, relative")
    m.flow("AXON", "axon_on*NEURO", "injury")
    m.flow("AXON", "-axon_off*AXON", "clearance")


def _markers(m: Builder) -> None:
    m.let("marker_leak", "1 + marker_bbb*(bar_loss_mean - bar_loss_mean_0)", "1",
          "how much more of a marker reaches blood through an open barrier")  # fmt: skip
    for state, label, source, p in MARKERS:
        m.let(f"{p}_brain_rest", f"{p}_release/isf_flow_0", "pg/mL", f"{label} in ISF at rest")
        m.state(f"{state}_brain", "pg/mL", f"{label}, interstitial fluid", f"{p}_brain_rest")
        m.flow(f"{state}_brain", f"{p}_release*(1 + {p}_rise*{source})/cns_v_isf", "release")
        m.flow(f"{state}_brain", f"-isf_k*{state}_brain", "bulk flow")
        m.let(f"{p}_csf_rest", f"{p}_release/(isf_flow_0 + csf_flow)", "pg/mL", f"{label} in CSF at rest")
        m.state(f"{state}_csf", "pg/mL", f"{label}, cerebrospinal fluid", f"{p}_csf_rest")
        m.flow(f"{state}_csf", f"isf_flow*{state}_brain/csf_volume", "from interstitial fluid")
        m.flow(f"{state}_csf", f"-(isf_flow + csf_flow)/csf_volume*{state}_csf", "to blood")
        m.state(state, "pg/mL", f"{label}, plasma",
                f"({p}_intact*{p}_release + {p}_peripheral)/({p}_out*marker_plasma)")  # fmt: skip
        m.flow(
            state, f"{p}_intact*marker_leak*(isf_flow + csf_flow)*{state}_csf/marker_plasma", "from CSF, intact part"
        )
        m.flow(state, f"{p}_peripheral/marker_plasma", "peripheral nerve")
        m.flow(state, f"-{p}_out*{state}", "clearance")
        m.observe(state, p, "pg/mL")
        m.observe(f"{state}_csf", p, "pg/mL", matrix="csf")
    m.let("csf_volume", "cns_v_lv + cns_v_tfv + cns_v_cm + cns_v_sasc + cns_v_sass", "mL", "volume of CSF")


def _oedema(m: Builder) -> None:
    m.state("OEDEMA", "1", "cerebral oedema, share of what compliance allows")
    m.flow("OEDEMA", "oedema_on*oedema_prone*hill(bar_loss_mean, oedema_bar_half, oedema_steep)"
           "*hill(NEURO, oedema_neuro_half, oedema_steep)*(1 - oedema_steroid*steroid_cns)*(1 - OEDEMA)",
           "vasogenic, only where the barrier is lost and the brain ill")  # fmt: skip
    m.flow("OEDEMA", "-oedema_off*OEDEMA", "resorption")
    m.let("icp", "icp_0*exp(icp_rise*OEDEMA)", "mm[Hg]", "intracranial pressure (Monro-Kellie, exponential compliance)")


def _severity(m: Builder) -> None:
    m.let("encephalopathy", "enceph_gain*NEURO/(1 - enceph_bend*NEURO)", "1",
          "latent neurological severity, cut by every ICANS scheme")  # fmt: skip
    m.let("ice_expected", "10/(1 + power(encephalopathy/ice_half, ice_steep))", "1", "expected ICE score, 0 to 10")
    m.let("eeg_slowing", "hill(encephalopathy, eeg_half, 2)", "1", "slowing of the EEG, 0 to 1")
    m.let("seizure_hazard", "seizure_0*hill(EXCITO, seizure_excito_half, seizure_steep)*(1 - inh_seizure)", "1/h",
          "hazard of a seizure")  # fmt: skip
    m.state("SEIZ_HAZ", "1", "cumulative hazard of a seizure")
    m.flow("SEIZ_HAZ", "seizure_hazard", "hazard")
