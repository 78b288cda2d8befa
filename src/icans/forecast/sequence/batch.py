"""The arrays that every network reads: steps of a patient's record up to a landmark, oldest first, newest at the end.

Rows have different lengths; short ones are filled at the front (``valid`` 0), so that the last step is the newest of
every row and a shorter window is a slice of the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Single = NDArray[np.float32]

#: Arrays with a step axis (the second).
STEPS = ("filled", "mask", "gap", "clock", "valid")
#: Arrays with one row only.
ROWS = ("last_gap", "context", "experts")


@dataclass(frozen=True)
class Batch:
    """Encoded rows: n rows, T steps, C channels, S columns of context, E expert columns.

    Attributes
    ----------
    filled
        (n, T, C): standardised value at the step, or the newest one before it; 0 (the training mean) where there is
        none yet.
    mask
        (n, T, C): 1 where the channel was measured in that step.
    gap
        (n, T, C): ln(1 + time since the channel's last measurement before the step / scale), from the start of the
        record where there is none.
    clock
        (n, T, 2): ln(1 + time since the step before / scale), ln(1 + time from the step to the landmark / scale).
    valid
        (n, T): 1 for steps of the record, 0 for filling at the front.
    last_gap
        (n, C): as ``gap``, from the channel's newest measurement to the landmark.
    context
        (n, S): prepared columns of the feature table that describe the patient and the day.
    experts
        (n, E): prepared columns of the mechanistic block, which also enter every step.
    """

    filled: Single
    mask: Single
    gap: Single
    clock: Single
    valid: Single
    last_gap: Single
    context: Single
    experts: Single

    def __len__(self) -> int:
        return len(self.valid)

    @property
    def lengths(self) -> NDArray[np.intp]:
        """Number of steps of each row."""
        return self.valid.sum(axis=1).astype(np.intp)

    def arrays(self) -> dict[str, Any]:
        """The arrays by name, as networks take them."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def rows(self, chosen: NDArray[Any], steps: int | None = None) -> Batch:
        """Some rows, and of these only the newest ``steps``."""
        first = 0 if steps is None else max(self.valid.shape[1] - steps, 0)
        taken = {name: getattr(self, name)[chosen, first:] for name in STEPS}
        return replace(self, **taken, **{name: getattr(self, name)[chosen] for name in ROWS})

    def without(self, channel: int) -> Batch:
        """The same rows as if one channel had never been measured."""
        filled, mask, gap, last_gap = (x.copy() for x in (self.filled, self.mask, self.gap, self.last_gap))
        filled[:, :, channel] = 0.0
        mask[:, :, channel] = 0.0
        start = self.clock[:, :, 1].max(axis=1, initial=0.0)
        last_gap[:, channel] = start
        # In the scale of gaps: what lies between the start of the record and each step.
        since = np.expm1(start)[:, None] - np.expm1(self.clock[:, :, 1])
        gap[:, :, channel] = np.log1p(np.maximum(since, 0.0)) * self.valid
        return replace(self, filled=filled, mask=mask, gap=gap, last_gap=last_gap)

    def centred(self, kind: str, columns: list[int]) -> Batch:
        """The same rows with some columns of ``context`` or ``experts`` at 0, their training mean."""
        values = getattr(self, kind).copy()
        values[:, columns] = 0.0
        return replace(self, **{kind: values})


def stacked(batches: Sequence[Batch]) -> Batch:
    """The rows of several batches of equal width, one after the other."""
    return Batch(**{f.name: np.concatenate([getattr(one, f.name) for one in batches]) for f in fields(Batch)})
