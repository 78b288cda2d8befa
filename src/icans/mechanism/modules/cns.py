"""The brain's fluids: interstitium of every region, ventricles, cisterna magna, subarachnoid space.

Cytokines and albumin enter through the barrier by size, some by carriers; microglia and astrocytes make cytokines of
their own, without which the levels seen in lumbar fluid cannot be explained; bulk flow and degradation remove them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder
from icans.mechanism.modules.transport import PerRegion, fluids, solute

if TYPE_CHECKING:
    from icans.mechanism.patient import Options

LABELS = {
    "IL6": "interleukin 6", "IL1B": "interleukin 1 beta", "IL1RA": "interleukin 1 receptor antagonist",
    "TNF": "tumour necrosis factor", "IFNG": "interferon gamma", "GMCSF": "GM-CSF", "IL10": "interleukin 10",
    "IL2": "interleukin 2", "IL15": "interleukin 15", "MCP1": "MCP-1", "IL8": "interleukin 8", "ALB": "albumin",
}  # fmt: skip

#: Solutes that a carrier brings into the brain, and those that compete for it (Banks 1995, 10.1159/000097202).
CARRIED = {"IL6": (), "TNF": (), "IL1B": ("IL1RA",), "IL1RA": ("IL1B",)}

#: Solutes that activated microglia and reactive astrocytes make.
MICROGLIAL = ("IL6", "IL1B", "IL1RA", "TNF", "IL10", "MCP1", "IL8")
ASTROCYTIC = ("IL6", "MCP1", "IL8")
#: Solutes that engaged T cells make once they are in the brain.
T_CELL = ("IFNG", "GMCSF")


def declare(m: Builder, options: Options) -> None:
    """Declare the module."""
    m.module("cns", "Brain and cerebrospinal fluid", "Chang 2019, 10.1007/s10928-019-09641-8",
             "Saleh 2021, 10.1007/s10928-021-09768-7", "Banks 1995, 10.1159/000097202",
             "Santomasso 2018, 10.1158/2159-8290.CD-17-1319", "Vinje 2023, 10.1186/s12987-023-00459-8")  # fmt: skip
    m.let("glymphatic", "cns_glymphatic*(1 - cns_glymphatic_loss*ASTRO)", "1",
          "interstitial flow relative to normal; reactive astrocytes misplace aquaporin 4")  # fmt: skip
    m.let("glymphatic_0", "cns_glymphatic", "1", "the same in health")
    fluids(m, options.regions)
    m.let("glial_restraint", "(1 - glia_steroid*steroid_cns)/(1 + pos(IL10_brain - IL10_brain_0)/glia_il10_half)"
          if "IL10" in options.solutes else "1 - glia_steroid*steroid_cns", "1",
          "what IL-10 and glucocorticoids leave of production by glia")  # fmt: skip
    m.let("cns_t_cells", "t_cell_output*(cns_traffic_shut + (1 - cns_traffic_shut)*bar_loss_mean)", "/uL",
          "engaged T cells that the barrier lets into the brain, as their number in blood")  # fmt: skip
    if options.closure:
        _closure(m, options)
    for name in options.solutes:
        if name == "ALB":
            _albumin(m, options)
        else:
            _cytokine(m, name, options)


def _cytokine(m: Builder, name: str, options: Options) -> None:
    base = "il15_base*(1 + il15_ld*ld_0)" if name == "IL15" else f"{name.lower()}_base"
    makers = []
    if name in MICROGLIAL:
        makers.append(f"micro_{name}*MICRO")
    if name in ASTROCYTIC:
        makers.append(f"astro_{name}*ASTRO")
    made = f"({' + '.join(makers)})*glial_restraint" if makers else None
    if name in T_CELL:
        made = f"tcell_{name}*cns_t_cells"
    produced: PerRegion | None = made
    if name == "IL6" and options.closure:

        def produced(region: str) -> str:
            return f"TIS_{region}*glial_restraint"

    carrier = {}
    if name in CARRIED:
        carrier = {"influx": _carrier(name, False), "influx_0": _carrier(name, True)}
    solute(
        m, name, plasma=name, baseline=base, regions=options.regions, label=LABELS[name],
        produced=produced, basal=f"basal_{name}", degraded=f"kdeg_{name}",
        efflux=f"efflux_{name}" if name in CARRIED else "0", **carrier,
    )  # fmt: skip
    m.observe(f"{name}_sass", ANALYTES[name], "pg/mL", matrix="csf")


def _closure(m: Builder, options: Options) -> None:
    """IL-6 that tissue makes in each region: a saturating response to plasma and barrier, reached with a delay.

    The form and the numbers are those of the spatial model's closure (``parameters/closure.toml``).
    """
    m.let("closure_blood", "pos(IL6*(1 - inh_il6) - il6_base)*(1 - inh_il6r_cns)*(1 - inh_jak_cns)/closure_c0", "1",
          "IL-6 in plasma above baseline that acts, relative to the closure's level")  # fmt: skip
    for r in options.regions:
        lost = f"closure_b*pos(bar_loss_{r} - bar_loss_{r}_0)"
        m.let(f"closure_drive_{r}", f"power(closure_blood, closure_n) + power({lost}, closure_m)", "1",
              f"drive of production by tissue, {r}")  # fmt: skip
        m.state(f"TIS_{r}", "pg/mL/h", f"IL-6 that tissue makes, {r}")
        m.flow(f"TIS_{r}", f"closure_rate*(closure_top*hill(closure_drive_{r}, 1) - TIS_{r})", "closure")


#: Names in the cohort's vocabulary.
ANALYTES = {
    "IL6": "il_6", "IL1B": "il_1b", "IL1RA": "il_1ra", "TNF": "tnf", "IFNG": "ifn_g", "GMCSF": "gm_csf",
    "IL10": "il_10", "IL2": "il_2", "IL15": "il_15", "MCP1": "mcp_1", "IL8": "il_8",
}  # fmt: skip


def _carrier(name: str, health: bool) -> str:
    """Saturable influx per mL of ISF; solutes that share the carrier compete."""

    def level(solute: str) -> str:
        return f"{solute.lower()}_base" if health else solute

    rivals = "".join(f" + {level(other)}" for other in CARRIED[name])
    return f"phi_{name}*carrier_{name}/cns_v_isf*km_{name}*{level(name)}/(km_{name} + {level(name)}{rivals})"


def _albumin(m: Builder, options: Options) -> None:
    solute(m, "ALB", plasma="alb_plasma", baseline="alb_plasma", regions=options.regions, unit="mg/L", label="albumin",
           relative="1")  # fmt: skip
    m.let("qalb_lumbar", "ALB_sass/alb_plasma", "1", "albumin quotient of lumbar fluid")
    m.let("qalb_limit", "qalb_limit_0 + qalb_limit_age*age_y", "1", "upper limit of the quotient at this age (Reiber)")
