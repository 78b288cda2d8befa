"""The blood-brain barrier: integrity of each region, what opens and mends it, and when it is called open.

``BAR_<region>`` is 1 where the barrier is intact. Endothelial and inflammatory markers add up, as log2 of their fold
change, to a score; its soft positive part disrupts the barrier of a region in proportion to the region's
vulnerability, matrix metalloproteinases help, repair closes it. Three of the four probability heads of
:mod:`icans.mechanism.heads` are read from here: the score, its logistic, and the hazard that ``BBB_HAZ`` adds up.

Sources: Moreno-Castano 2023, 10.1136/jitc-2022-006365 (markers); Korell 2022 (EASIX, prior of the coefficient);
Hillmer 2022, 10.1177/0271678X221146127 (metalloproteinases); Elwood 2017, PMC5380128 (systemic inflammation raises
the albumin quotient only where the brain was ill before); regional weights: Ha 2021, PMC8236362, and
10.1111/jon.13138.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder

if TYPE_CHECKING:
    from icans.mechanism.patient import Options

#: Covariates of the barrier, 0 or 1 (or in between): the score moves by ``bbb_<name>`` for each.
COVARIATES = {"cov_htn": "hypertension", "cov_dm": "diabetes", "cov_age": "age", "cov_cns": "prior CNS disease"}


def declare(m: Builder, options: Options) -> None:
    """Declare the module."""
    m.module("barrier", "Blood-brain barrier", "Moreno-Castano 2023, 10.1136/jitc-2022-006365",
             "Korell 2022, EASIX", "Hillmer 2022, 10.1177/0271678X221146127", "Elwood 2017, PMC5380128",
             "Ha 2021, PMC8236362")  # fmt: skip
    m.handle("inh_mmp", "inhibition of matrix metalloproteinases")
    m.handle("s1p_support", "support of tight junctions through the S1P receptor 1")
    _score(m)
    _metalloproteinase(m)
    shares(m, options.regions)
    _integrity(m, options.regions)
    _probability(m)


def shares(m: Builder, regions: Sequence[str]) -> None:
    """Part of each region in the volume of those that the model has."""
    m.let("brain_volume", " + ".join(f"vol_{r}" for r in regions), "mL", "volume of the regions")
    for r in regions:
        m.let(f"share_{r}", f"vol_{r}/brain_volume", "1", f"part of {r} in the brain")


def _fold(x: str, base: str, reference: str = "0") -> str:
    """log2 of the fold change; a reference level damps what low levels do."""
    return f"log(({x} + {reference})/({base} + {reference}))/log(2)"


def _score(m: Builder) -> None:
    covariates = " + ".join(f"bbb_{c}*{c}" for c in COVARIATES)
    m.let("bbb_covariates", f"{covariates} + bbb_b_endo*(endo_0 - bbb_endo_ref)", "1",
          "what covariates and endothelium at rest add to the score")  # fmt: skip
    m.let("bbb_ang", f"{_fold('ANG2', 'ang2_rest')} - {_fold('ANG1', 'ang1_rest', 'bbb_ref_ang1')}", "1",
          "log2 change of Ang-2:Ang-1")  # fmt: skip
    m.let("bbb_vcam", _fold("VCAM1", "vcam1_base*(1 + vcam1_rise*endo_0)"), "1", "log2 change of VCAM-1")
    m.let("bbb_vwf", _fold("VWF", "vwf_base*(1 + vwf_rise*endo_0*wpb_rest)"), "1",
          "log2 change of von Willebrand factor")  # fmt: skip
    m.let("bbb_il6", _fold("il6_base + il6_trans_excess", "il6_base", "bbb_ref_il6"), "1",
          "log2 change of IL-6 trans-signalling (endothelium has no IL-6 receptor of its own)")  # fmt: skip
    m.let("bbb_tnf", _fold("tnf_base + pos(TNF - tnf_base)*(1 - inh_tnf)", "tnf_base"), "1", "log2 change of TNF")
    m.let("bbb_ifng", _fold("ifng_base + pos(IFNG - ifng_base)*(1 - inh_ifng)", "ifng_base", "bbb_ref_ifng"), "1",
          "log2 change of interferon gamma")  # fmt: skip
    m.let("bbb_markers",
          "bbb_b_ang*bbb_ang*(1 - bbb_tie2*tie2_support) + bbb_b_vcam*bbb_vcam + bbb_b_vwf*bbb_vwf"
          " + bbb_b_il6*bbb_il6 + bbb_b_tnf*bbb_tnf + bbb_b_ifng*bbb_ifng + bbb_b_il1*il1_local",
          "1", "weighted biomarkers, 0 in health")  # fmt: skip
    m.let("bbb_score",
          "bbb_b0 + bbb_covariates + bbb_markers + bbb_b_injury*cov_cns*hill(il6_excess, bbb_injury_half)",
          "1", "score that drives disruption")  # fmt: skip
    m.let("bbb_drive", "pos(softplus(bbb_score) - softplus(bbb_b0))", "1",
          "disruption: soft positive part of the score, beyond that of a healthy person")  # fmt: skip
    m.let("bbb_drive_0", "pos(softplus(bbb_b0 + bbb_covariates) - softplus(bbb_b0))", "1", "the same before treatment")


def _metalloproteinase(m: Builder) -> None:
    m.state("MMP", "1", "metalloproteinase activity at the barrier, relative", "1")
    m.flow("MMP", "mmp_out*(1 - MMP)", "turnover")
    m.flow(
        "MMP",
        "mmp_out*mmp_rise*((1 - mmp_il1)*hill(MYE_A, mmp_mye_half) + mmp_il1*il1_local)",
        "activated myeloid cells, IL-1",
    )
    m.let("bbb_attack", "bbb_break*(1 - bbb_mmp_share + bbb_mmp_share*MMP*(1 - inh_mmp))", "1/h",
          "disruption at unit drive")  # fmt: skip
    m.let("bbb_mending", "bbb_repair*(1 + bbb_s1p*s1p_support)", "1/h", "repair")


def _integrity(m: Builder, regions: Sequence[str]) -> None:
    for r in regions:
        state = f"BAR_{r}"
        m.let(f"bar_0_{r}", f"bbb_repair/(bbb_repair + bbb_break*bbb_w_{r}*bbb_drive_0)", "1", "integrity in health")
        m.state(state, "1", f"integrity of the blood-brain barrier of {r}", f"bar_0_{r}")
        m.flow(state, f"bbb_mending*(1 - {state})", "repair")
        m.flow(state, f"-bbb_attack*bbb_w_{r}*bbb_drive*{state}", "disruption")
        m.let(f"bar_loss_{r}", f"1 - {state}", "1", f"loss of integrity, {r}")
        m.let(f"bar_loss_{r}_0", f"1 - bar_0_{r}", "1", f"loss of integrity in health, {r}")
    for end in ("", "_0"):
        mean = " + ".join(f"share_{r}*bar_loss_{r}{end}" for r in regions)
        m.let(f"bar_loss_mean{end}", mean, "1", "mean loss of integrity")
    m.let("bbb_permeability", "1 + (cns_open_bbb - 1)*bar_loss_mean", "1", "permeability relative to an intact barrier")


def _probability(m: Builder) -> None:
    m.let("bbb_logit", "bbb_logit_a + bbb_logit_c*bbb_score", "1", "log odds of an open barrier, regression head")
    m.state("BBB_HAZ", "1", "cumulative hazard of an open barrier")
    m.flow("BBB_HAZ", "bbb_hazard_0*exp(bbb_hazard_c*bbb_score)", "hazard head")
    m.let("bbb_p_logistic", "expit(bbb_logit)", "1", "P(barrier open now), regression head")
    m.let("bbb_p_hazard", "1 - exp(-BBB_HAZ)", "1", "P(barrier opened by now), hazard head")
