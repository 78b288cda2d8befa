"""Fitted models as plain parts: JSON values and arrays, no pickle, and back again exactly.

A fitted model that can be saved has a method ``to_parts() -> (dict, dict of arrays)``; the dictionary holds JSON
values only and names the model's *kind*. :data:`KINDS` says which module makes a model of that kind again, with its
function ``from_parts(meta, arrays)``. Only the kinds listed here are ever looked up: a file cannot name code to run.

Numbers that may be infinite or missing travel in arrays, because JSON has no word for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icans.core.errors import DataError, Problem
from icans.forecast.outcomes import Horizon

Array = NDArray[Any]
Meta = dict[str, Any]
Arrays = dict[str, Array]
Parts = tuple[Meta, Arrays]

_MODELS = "icans.forecast.models"

#: Kind -> module whose ``from_parts(meta, arrays)`` makes it. A new kind is one line here.
KINDS: dict[str, str] = {
    "prevalence": f"{_MODELS}.prevalence",
    "score": f"{_MODELS}.recalibrated",
    "shift": f"{_MODELS}.recalibrated",
    "logistic": f"{_MODELS}.logistic",
    "landmark_cox": f"{_MODELS}.cox",
    "boosting": f"{_MODELS}.boosting",
    "forest": f"{_MODELS}.forest",
    "explainable": f"{_MODELS}.explainable",
    "network": f"{_MODELS}.network",
    "discrete": f"{_MODELS}.discrete",
    "grades": f"{_MODELS}.grades",
    "multistate": "icans.forecast.multistate_cox",
    "phenotypes": f"{_MODELS}.phenotype_model",
    "sequence": "icans.forecast.sequence.rung",
    "sequence_whole": "icans.forecast.sequence.whole",
    "sequence_hybrid": "icans.forecast.sequence.hybrid",
    "onset_lasso": "icans.forecast.filters.rung",
    "stack": "icans.forecast.integrate.stack",
    "mechanistic": "icans.forecast.mechanistic.rungs",
    "mechanistic_block": "icans.forecast.mechanistic.block",
    "batch_step": "icans.forecast.steps",
    "assay_step": "icans.forecast.steps",
    "transfer": "icans.forecast.transfer.recalibrate",
    "update": "icans.forecast.transfer.update",
    "group_effects": "icans.forecast.transfer.group_effects",
}


def to_parts(model: Any) -> Parts:
    """JSON values and arrays of a fitted model.

    Raises
    ------
    TypeError
        The model cannot be saved (it has no ``to_parts``, or its kind is not known).
    """
    if not hasattr(model, "to_parts"):
        raise TypeError(f"{type(model).__name__} cannot be saved as plain parts")
    meta, arrays = model.to_parts()
    if meta.get("kind") not in KINDS:
        raise TypeError(f"{type(model).__name__} is of kind {meta.get('kind')!r}; known kinds: {sorted(KINDS)}")
    return meta, arrays


def from_parts(meta: Mapping[str, Any], arrays: Mapping[str, Array]) -> Any:
    """The model that :func:`to_parts` took apart.

    Raises
    ------
    DataError
        A kind that is not known, or parts that do not belong together.
    """
    kind = meta.get("kind")
    if kind not in KINDS:
        wanted = f"one of {sorted(KINDS)}"
        raise DataError([Problem("model", None, "kind", str(kind), wanted, "Train the model again.")])
    try:
        return import_module(KINDS[kind]).from_parts(dict(meta), dict(arrays))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        found = Problem("model", None, str(kind), why, "the parts of one fitted model", "Train the model again.")
        raise DataError([found]) from error


def join(meta: Meta, arrays: Arrays, **children: Parts) -> Parts:
    """A model's own values and arrays with those of its parts, each under its name."""
    together = dict(arrays)
    values = dict(meta)
    for name, (inner, more) in children.items():
        values[name] = inner
        together |= {f"{name}/{key}": value for key, value in more.items()}
    return values, together


def child(meta: Mapping[str, Any], arrays: Mapping[str, Array], name: str) -> Parts:
    """The parts that :func:`join` put under ``name``."""
    start = f"{name}/"
    return dict(meta[name]), {key[len(start) :]: value for key, value in arrays.items() if key.startswith(start)}


def horizons_out(horizons: Sequence[Horizon]) -> list[list[float | bool]]:
    """Horizons as JSON values."""
    return [[h.hours, h.until] for h in horizons]


def horizons_in(values: Sequence[Sequence[Any]]) -> list[Horizon]:
    """The inverse of :func:`horizons_out`."""
    return [Horizon(float(hours), bool(until)) for hours, until in values]


def floats(value: Any) -> NDArray[np.float64]:
    """An array of floats (what is not one raises)."""
    found = np.asarray(value)
    if found.dtype.kind not in "fiub":
        raise TypeError(f"an array of numbers is wanted; got {found.dtype}")
    return found.astype(np.float64)
