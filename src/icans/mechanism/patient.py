"""The patient model: which modules there are, in which order, and the assembled whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module

from icans.core.errors import ModelError, Problem
from icans.mechanism.declare import Builder
from icans.mechanism.model import PatientModel, assemble
from icans.mechanism.parameters import read_parameters, unknown

#: Regions of the brain, in the order of the state vector.
REGIONS = ("cortex", "white_matter", "thalamus", "basal_ganglia", "hippocampus", "brainstem", "cerebellum")

#: The brain as one region, for fast studies.
WHOLE = ("brain",)

#: Solutes that are followed through the brain and the cerebrospinal fluid.
SOLUTES = ("IL6", "IL1B", "IL1RA", "TNF", "IFNG", "GMCSF", "IL10", "IL2", "IL15", "MCP1", "IL8", "ALB")

#: Modules in the order in which they are declared (the order of the state vector).
MODULES = (
    "cells", "myeloid", "cytokines", "acute_phase", "endothelium", "barrier", "cns", "injury", "organs",
)  # fmt: skip
BRAIN = ("barrier", "cns", "injury")

CELL_FORMS = ("one", "four")


@dataclass(frozen=True, slots=True)
class Options:
    """What the model is made of.

    Attributes
    ----------
    drugs
        Names of the therapies in the state vector (modules of ``icans.mechanism.modules.drugs``).
    regions
        Regions of the brain, of :data:`REGIONS`; or :data:`WHOLE`, the brain as one region.
    cells
        ``"one"``: one effector pool and a memory pool. ``"four"``: naive, central memory, effector memory and effector
        CAR T cells, each CD4 and CD8.
    solutes
        Solutes followed through the central nervous system, of :data:`SOLUTES`.
    feedback
        Whether the inflammatory loops (IL-6 to myeloid cells, MCP-1 recruitment) are closed.
    brain
        Whether barrier, cerebrospinal fluid, brain and its injury are part; without them the model is systemic alone
        and takes no drugs (drugs also act in the brain).
    closure
        Whether IL-6 in the brain is made as the closure of the spatial model of a piece of brain says (per region,
        from IL-6 in plasma and the barrier there), instead of by the lumped glia.
    """

    drugs: tuple[str, ...] = ()
    regions: tuple[str, ...] = REGIONS
    cells: str = "one"
    solutes: tuple[str, ...] = SOLUTES
    feedback: bool = True
    brain: bool = True
    closure: bool = False

    def __post_init__(self) -> None:
        problems = [unknown("region", r, REGIONS) for r in self.regions if r not in REGIONS and self.regions != WHOLE]
        problems += [unknown("solute", s, SOLUTES) for s in self.solutes if s not in SOLUTES]
        known = available_drugs()
        problems += [unknown("drug", d, known) for d in self.drugs if d not in known]
        if self.cells not in CELL_FORMS:
            problems.append(unknown("cell form", self.cells, CELL_FORMS))
        for what, given in (("regions", self.regions), ("solutes", self.solutes), ("drugs", self.drugs)):
            if len(set(given)) < len(given):
                problems.append(Problem("model", None, what, str(given), "each name once", "Remove the repetition."))
        if not self.regions:
            problems.append(Problem("model", None, "regions", "()", "at least one region", "Name one."))
        if self.drugs and not self.brain:
            problems.append(Problem("model", None, "brain", "False", "no drugs", "Leave brain=True, or name no drug."))
        if self.closure and not (self.brain and "IL6" in self.solutes):
            expected = "a brain in which IL-6 is followed"
            problems.append(Problem("model", None, "closure", "True", expected, "Leave closure=False, or add them."))
        if problems:
            raise ModelError(problems)


def available_drugs() -> tuple[str, ...]:
    """Names of the therapies that the model knows, in alphabetical order."""
    from importlib import resources

    folder = resources.files("icans.mechanism.modules") / "drugs"
    if not folder.is_dir():
        return ()
    names = (f.name.removesuffix(".py") for f in folder.iterdir() if f.name.endswith(".py"))
    return tuple(sorted(n for n in names if not n.startswith("_")))


def patient_model(
    drugs: Sequence[str] = (),
    *,
    regions: Sequence[str] = REGIONS,
    cells: str = "one",
    solutes: Sequence[str] = SOLUTES,
    feedback: bool = True,
    brain: bool = True,
    closure: bool = False,
) -> PatientModel:
    """The patient model with these therapies; made once for each set of options.

    Parameters
    ----------
    drugs
        Therapies to include, see :func:`available_drugs`; the order does not matter.
    regions, cells, solutes, feedback, brain, closure
        See :class:`Options`.

    Raises
    ------
    ModelError
        An option that does not exist.
    """
    return _model(Options(tuple(sorted(drugs)), tuple(regions), cells, tuple(solutes), feedback, brain, closure))


@lru_cache(maxsize=32)
def _model(options: Options) -> PatientModel:
    builder = Builder()
    modules = [name for name in MODULES if options.brain or name not in BRAIN]
    for name in (*modules, *(f"drugs.{d}" for d in options.drugs)):
        import_module(f"icans.mechanism.modules.{name}").declare(builder, options)
    return assemble(builder, read_parameters())
