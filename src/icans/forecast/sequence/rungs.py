"""Networks on sequences as rungs of the ladder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from icans.forecast.inputs import CLINICAL
from icans.forecast.ladder import Rung
from icans.forecast.sequence.cells import CAUSAL, CELLS
from icans.forecast.sequence.encode import EncodeSpec
from icans.forecast.sequence.hybrid import HybridModel
from icans.forecast.sequence.rung import SequenceModel
from icans.forecast.sequence.train import TrainSpec

#: Rungs that join mechanism and network.
HYBRIDS = {
    "net_experts": "GRU-D that also reads the mechanistic block at every step",
    "net_ude": "small part of the patient model, gains corrected by a network, random effects read by a GRU",
    "net_mechanism": "the same without correction",
}


def sequence_rungs(
    names: Sequence[str] | None = None,
    *,
    missingness: bool = False,
    encode: EncodeSpec | None = None,
    train: TrainSpec | None = None,
) -> tuple[Rung, ...]:
    """A rung for each network.

    Parameters
    ----------
    names
        Only these: ``net_<cell>`` for the cells of :data:`icans.forecast.sequence.cells.CAUSAL` (they see no
        mechanistic column), and :data:`HYBRIDS`. None: all.
    missingness
        Show networks what was not measured and for how long. Only when the audit of the cohort allows it.
    encode, train
        Other settings than the documented ones.

    Raises
    ------
    KeyError
        A name that is not there.
    """
    shown = replace(encode or EncodeSpec(), missingness=missingness)
    how = train or TrainSpec()
    rungs = {
        f"net_{cell}": Rung(f"net_{cell}", CELLS[cell][1], SequenceModel(cell, encode=shown, train=how), CLINICAL)
        for cell in CAUSAL
    }
    experts = SequenceModel("grud", encode=shown, train=how)
    rungs["net_experts"] = Rung("net_experts", HYBRIDS["net_experts"], experts)
    for name, corrected in (("net_ude", True), ("net_mechanism", False)):
        hybrid = HybridModel(encode=shown, corrected=corrected)
        hybrid = hybrid if train is None else replace(hybrid, train=train)
        rungs[name] = Rung(name, HYBRIDS[name], hybrid, CLINICAL)
    unknown = [name for name in names or () if name not in rungs]
    if unknown:
        raise KeyError(f"no rung {unknown}; there are {list(rungs)}")
    return tuple(rung for name, rung in rungs.items() if names is None or name in names)
