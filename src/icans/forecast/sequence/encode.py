"""From the stream of events to arrays of steps; what is learned (scales, columns) comes from training rows only.

Events fall into bins of ``bin_h`` hours counted back from the landmark, so that no bin reaches beyond it; a step is a
bin with at least one event, and steps stay as irregular as the record is. Values of a channel in a bin are averaged.
A channel that is missing in a step keeps its newest value; that it was missing, and for how long, is told to the
network in arrays of their own (Lipton 2016, arXiv 1606.04130; Che 2018, doi 10.1038/s41598-018-24271-9).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.core.errors import NotEstimableError
from icans.forecast import preprocess_parts
from icans.forecast.inputs import MECHANISTIC, Inputs
from icans.forecast.models.parts import Arrays, Meta, Parts, child, join
from icans.forecast.preprocess import Preparation, PrepareSpec, preprocessor, source_column
from icans.forecast.sequence.batch import Batch

Floats = NDArray[np.float64]

#: Grades are divided by their largest value, so that all channels have about the same size.
LARGEST_GRADE = 4.0


@dataclass(frozen=True, slots=True)
class EncodeSpec:
    """How the stream becomes steps.

    Parameters
    ----------
    bin_h
        Width of a step, hours.
    max_steps
        Only the newest steps are kept; what came before survives as the newest value of each channel.
    scale_h
        Unit of time in gaps, hours (about the spacing of visits). None: the bin.
    min_share
        A channel measured in fewer of the training rows is left out.
    context
        Prefixes of columns of the feature table that describe the patient (the day is always there).
    missingness
        Show the network what was missing and for how long. Without it, which the audit of a cohort may ask for, masks
        say only whether a channel has been seen at all, and gaps are zero.
    """

    bin_h: float = 12.0
    max_steps: int = 32
    scale_h: float | None = None
    min_share: float = 0.05
    context: tuple[str, ...] = ("static",)
    missingness: bool = True

    def __post_init__(self) -> None:
        if self.bin_h <= 0 or self.max_steps < 1:
            raise ValueError(f"bin_h must be positive and max_steps at least 1; got {self.bin_h}, {self.max_steps}")

    @property
    def unit_h(self) -> float:
        """Unit of time in gaps, hours."""
        return self.bin_h if self.scale_h is None else self.scale_h


@dataclass(frozen=True)
class Encoding:
    """A fitted encoding.

    Attributes
    ----------
    spec
        Its settings.
    channels
        Channels of the stream that are read, laboratory values first.
    values
        Transform and scale of the laboratory channels (None: there are none).
    context, experts
        Preparation of the columns of the feature table (None: no column).
    """

    spec: EncodeSpec
    channels: tuple[str, ...]
    values: Preparation | None
    context: Preparation | None
    experts: Preparation | None

    def batch(self, inputs: Inputs) -> Batch:
        """Arrays of the rows of ``inputs``."""
        steps = _steps(inputs, self.channels, self.spec)
        return Batch(
            **_padded(steps, self._scaled(steps.value), len(inputs), self.spec),
            context=_columns(self.context, inputs.table),
            experts=_columns(self.experts, inputs.table),
        )

    def _scaled(self, value: Floats) -> Floats:
        """Channels on the scale of the network, missing ones NaN."""
        labs = [name for name in self.channels if name.startswith("lab.")]
        scaled = value.copy()
        if self.values is not None:
            # Columns that did not vary in training are dropped by the preparation; they stay at 0 here.
            made = self.values.transform(pd.DataFrame(value[:, : len(labs)], columns=_feature(labs)))
            scaled[:, : len(labs)] = made.reindex(columns=_feature(labs)).to_numpy(dtype=float)
            scaled[:, : len(labs)][np.isnan(scaled[:, : len(labs)]) & ~np.isnan(value[:, : len(labs)])] = 0.0
        for k, name in enumerate(self.channels):
            if name.startswith("grade."):
                scaled[:, k] /= LARGEST_GRADE
        return scaled

    def sources(self, kind: str) -> dict[str, list[int]]:
        """Feature of the table -> columns of ``context`` or ``experts`` that come from it."""
        pipeline = self.context if kind == "context" else self.experts
        found: dict[str, list[int]] = {}
        for k, name in enumerate([] if pipeline is None else pipeline.names_):
            found.setdefault(source_column(name), []).append(k)
        return found

    def to_parts(self) -> Parts:
        """JSON values and arrays."""
        made = {"values": self.values, "context": self.context, "experts": self.experts}
        children = {name: preprocess_parts.to_parts(p) for name, p in made.items() if p is not None}
        meta: Meta = {"spec": asdict(self.spec), "channels": list(self.channels), "has": sorted(children)}
        return join(meta, {}, **children)


def encoding_from(meta: Meta, arrays: Arrays) -> Encoding:
    """The encoding that :meth:`Encoding.to_parts` took apart."""
    spec = EncodeSpec(**(meta["spec"] | {"context": tuple(meta["spec"]["context"])}))
    has = {name: preprocess_parts.from_parts(*child(meta, arrays, name)) for name in meta["has"]}
    return Encoding(spec, tuple(meta["channels"]), has.get("values"), has.get("context"), has.get("experts"))


def fit_encoding(inputs: Inputs, spec: EncodeSpec) -> Encoding:
    """Learn channels, transforms and scales from training rows.

    Raises
    ------
    NotEstimableError
        No channel of the stream is measured in enough rows.
    """
    events = inputs.events()
    row = np.repeat(np.arange(len(inputs)), np.diff(events.start))
    seen = np.zeros((len(inputs), len(events.channels)), dtype=bool)
    seen[row, events.channel] = True
    share = seen.mean(axis=0) if len(inputs) else np.zeros(len(events.channels))
    kept = [name for k, name in enumerate(events.channels) if share[k] > 0 and share[k] >= spec.min_share]
    if not kept:
        raise NotEstimableError(
            f"no channel of the stream is measured in at least {spec.min_share:.0%} of {len(inputs)} rows"
        )
    channels = tuple(sorted(kept, key=lambda name: (not name.startswith("lab."), name)))
    labs = [name for name in channels if name.startswith("lab.")]
    values = None
    if labs:
        steps = _steps(inputs, channels, spec)
        values = preprocessor(PrepareSpec(impute=False, max_missing=1.0))
        values.fit(pd.DataFrame(steps.value[:, : len(labs)], columns=_feature(labs)))
    table = inputs.table
    context = [c for c in table.columns if c == "day" or c.split(".", 1)[0] in spec.context]
    experts = [c for c in table.columns if c.split(".", 1)[0] in MECHANISTIC]
    return Encoding(spec, channels, values, _prepared(table, context), _prepared(table, experts))


def observed(
    inputs: Inputs, channels: Sequence[str], spec: EncodeSpec
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Channels as measured, not scaled: value and mask (n, T, C), hours before the landmark (n, T)."""
    steps = _steps(inputs, channels, spec)
    made = _padded(steps, steps.value, len(inputs), replace(spec, missingness=True))
    before = np.expm1(made["clock"][:, :, 1]) * spec.unit_h
    return made["filled"], made["mask"], before.astype(np.float32)


@dataclass(frozen=True)
class _Steps:
    """Steps of all rows below one another: row and time before the landmark of each, channel means (NaN: missing)."""

    row: NDArray[np.intp]
    before_h: Floats
    value: Floats


def _steps(inputs: Inputs, channels: Sequence[str], spec: EncodeSpec) -> _Steps:
    events = inputs.events()
    place = np.array([channels.index(c) if c in channels else -1 for c in events.channels], dtype=np.intp)
    mine = place[events.channel] >= 0 if len(events.channel) else np.empty(0, dtype=bool)
    row = np.repeat(np.arange(len(inputs)), np.diff(events.start))[mine]
    before = np.maximum(events.before_h[mine], 0.0)
    code = np.floor(before / spec.bin_h).astype(np.intp)
    widest = int(code.max(initial=0)) + 1
    # Oldest bin first: the number of the step grows as the time before the landmark falls.
    label, step = np.unique(row * widest + (widest - 1 - code), return_inverse=True)
    cell = step * len(channels) + place[events.channel[mine]]
    size = len(label) * len(channels)
    number = np.bincount(cell, minlength=size)
    total = np.bincount(cell, events.value[mine], minlength=size)
    value = np.divide(total, number, out=np.full(size, np.nan), where=number > 0)
    time = np.bincount(step, before, minlength=len(label)) / np.maximum(np.bincount(step, minlength=len(label)), 1)
    return _Steps(label // widest, time, value.reshape(len(label), len(channels)))


def _padded(steps: _Steps, value: Floats, rows: int, spec: EncodeSpec) -> dict[str, Any]:
    """Forward-filled values, masks and gaps, set into arrays whose last step is the newest."""
    start = np.searchsorted(steps.row, np.arange(rows + 1))
    length = np.diff(start)
    index = np.arange(len(steps.row))[:, None]
    first = start[steps.row][:, None]
    seen = ~np.isnan(value)
    newest = np.maximum.accumulate(np.where(seen, index, -1), axis=0) if len(index) else np.empty(value.shape, int)
    before = np.vstack([np.full((1, value.shape[1]), -1), newest[:-1]]) if len(index) else newest
    filled = np.where(newest >= first, np.take_along_axis(value, np.maximum(newest, 0), axis=0), 0.0)
    at = steps.before_h
    gap = at[np.where(before >= first, before, first)] - at[:, None]
    since = np.r_[0.0, at[:-1] - at[1:]] if len(at) else at
    since[np.unique(first)] = 0.0
    mask = seen.astype(float)
    if not spec.missingness:
        mask, gap = (newest >= first).astype(float), np.zeros_like(gap)
    unit = spec.unit_h
    clock = np.log1p(np.column_stack([since, at]) / unit)
    size = int(min(max(length.max(initial=0), 1), spec.max_steps))
    position = size - (start[1:][steps.row] - index[:, 0])
    kept = position >= 0
    made = {}
    for name, flat in {"filled": filled, "mask": mask, "gap": np.log1p(np.maximum(gap, 0.0) / unit),
                       "clock": clock, "valid": np.ones((len(at), 1))}.items():  # fmt: skip
        padded = np.zeros((rows, size, flat.shape[1]), dtype=np.float32)
        padded[steps.row[kept], position[kept]] = flat[kept]
        made[name] = padded
    made["valid"] = made["valid"][:, :, 0]
    last = np.zeros((rows, value.shape[1]))
    some = length > 0
    end = start[1:][some] - 1
    last[some] = at[np.where(newest[end] >= start[:-1][some][:, None], newest[end], start[:-1][some][:, None])]
    made["last_gap"] = np.log1p(last / unit if spec.missingness else np.zeros_like(last)).astype(np.float32)
    return made


def _feature(labs: Sequence[str]) -> list[str]:
    """Names under which the preparation knows that a column is a laboratory value."""
    return [f"{name}.value" for name in labs]


def _prepared(table: pd.DataFrame, columns: list[str]) -> Preparation | None:
    """A preparation of some columns; None where no usable one is left."""
    if not columns:
        return None
    pipeline = preprocessor(PrepareSpec())
    return pipeline if pipeline.learn(table[columns]).shape[1] else None


def _columns(pipeline: Preparation | None, table: pd.DataFrame) -> NDArray[np.float32]:
    if pipeline is None:
        return np.zeros((len(table), 0), dtype=np.float32)
    return pipeline.matrix(table[pipeline.steps[0][1].columns_]).astype(np.float32)
