"""Every model that can be trained, by name: the ladder, and what is beyond it; heavy libraries load when asked for.

A name stands for a :class:`Recipe`: the rung, and the blocks of features that it needs. Names that end in
``_clinical``, ``_mechanistic`` and ``_both`` are one learner that is shown different columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from icans.forecast.blocks import FeatureBlock
from icans.forecast.ladder import Rung, ladder

#: The hybrid: experts by modality, the mechanistic model of the patient among them, joined by what is available.
HYBRID = "hybrid"


@dataclass(frozen=True)
class Recipe:
    """A rung and the blocks whose columns it reads."""

    rung: Rung
    blocks: tuple[FeatureBlock, ...] = ()

    @property
    def name(self) -> str:
        """The rung's name."""
        return self.rung.name


def recipe(name: str) -> Recipe:
    """The recipe of a name.

    Raises
    ------
    KeyError
        There is none; the message lists those that there are.
    """
    for names, make in _SOURCES:
        if name in names:
            return make(name)
    raise KeyError(f"there is no model {name!r}; there are {', '.join(model_names())}")


def recipes(names: Sequence[str]) -> tuple[tuple[Rung, ...], tuple[FeatureBlock, ...]]:
    """The rungs of several names, and every block that one of them needs, once."""
    found = [recipe(name) for name in names]
    blocks: list[FeatureBlock] = []
    for one in found:
        blocks += [block for block in one.blocks if block not in blocks]
    return tuple(one.rung for one in found), tuple(blocks)


def model_names() -> tuple[str, ...]:
    """Every name, simplest first."""
    return tuple(name for names, _ in _SOURCES for name in names)


def _of_ladder(name: str) -> Recipe:
    return Recipe(ladder(names=[name])[0])


def _tabular(name: str) -> Recipe:
    from icans.forecast.models.discrete import DiscreteHazards
    from icans.forecast.models.explainable import ExplainableBoosting
    from icans.forecast.models.forest import RandomForest
    from icans.forecast.models.network import NeuralNetwork

    made = {
        "discrete": Rung(name, "cause-specific hazards by day, penalised, one model for every horizon",
                         DiscreteHazards()),
        "forest": Rung(name, "random forest on summaries, recalibrated out of bag", RandomForest()),
        "explainable": Rung(name, "explainable boosting machine: one curve a feature", ExplainableBoosting()),
        "network": Rung(name, "small neural network on newest values, stopped early on patients", NeuralNetwork()),
    }  # fmt: skip
    return Recipe(made[name])


def _mechanistic(name: str) -> Recipe:
    from icans.forecast.mechanistic.block import MechanisticBlock
    from icans.forecast.mechanistic.rungs import mechanistic_rungs

    rung = next(rung for rung in mechanistic_rungs() if rung.name == name)
    return Recipe(rung, (MechanisticBlock(),) if rung.groups is None or "mech" in rung.groups else ())


def _hybrid(name: str) -> Recipe:
    from icans.forecast.integrate.stack import integration_rung
    from icans.forecast.mechanistic.block import MechanisticBlock

    return Recipe(integration_rung(name=name), (MechanisticBlock(),) if name == HYBRID else ())


def _rival(name: str) -> Recipe:
    from icans.forecast.filters.rung import OnsetLasso

    return Recipe(Rung(name, "lasso onset hazard on patient-days, the published rival (Amidi 2022)", OnsetLasso()))


def _sequence(name: str) -> Recipe:
    from icans.forecast.mechanistic.block import MechanisticBlock
    from icans.forecast.sequence.rungs import sequence_rungs

    (rung,) = sequence_rungs([name])
    return Recipe(rung, (MechanisticBlock(),) if name == "net_experts" else ())


_Source = tuple[tuple[str, ...], Callable[[str], Recipe]]
_SOURCES: tuple[_Source, ...] = (
    (tuple(rung.name for rung in ladder()), _of_ladder),
    (("discrete", "forest", "explainable", "network"), _tabular),
    (("onset_lasso",), _rival),
    (("net_gru", "net_lstm", "net_grud", "net_attention", "net_tcn", "net_cde", "net_mechanism", "net_ude",
      "net_experts"), _sequence),
    (("mechanistic", "logistic_clinical", "logistic_mechanistic", "logistic_both", "boosting_clinical",
      "boosting_mechanistic", "boosting_both"), _mechanistic),
    (("integration", HYBRID), _hybrid),
)  # fmt: skip
