"""Blocks of features that learn from patients before they can be made: the mechanistic block, learned embeddings ...

A plain feature of a patient depends on that patient alone. A block's columns depend on what was fitted, so a block
is fitted on the training patients of each fold, and only then makes the columns of both parts. It sees of each
patient what was known at the row's time and nothing later: :meth:`FittedBlock.columns` is given the whole cohort
and must cut it itself (a test shuffles the future and asks for the same columns).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.cohort.cohort import Cohort

Floats = NDArray[np.float64]


class FittedBlock(Protocol):
    """A block that has learned from training patients."""

    @property
    def name(self) -> str:
        """Prefix of its columns, one of :data:`icans.forecast.inputs` groups."""
        ...

    def columns(self, cohort: Cohort, plan: pd.DataFrame, at_h: Floats) -> pd.DataFrame:
        """Columns ``<name>.<what>`` for the rows of ``plan`` (patient_id, landmark_h), as known at ``at_h``.

        Returns
        -------
        DataFrame
            One row for each row of ``plan``, in its order; NaN where the block has nothing to say.
        """
        ...


class FeatureBlock(Protocol):
    """A block before fitting: frozen settings."""

    def fit(self, cohort: Cohort, seed: int) -> FittedBlock:
        """Learn from training patients (their whole record)."""
        ...


def with_blocks(
    table: pd.DataFrame, at_h: Floats, cohort: Cohort, blocks: Sequence[FittedBlock]
) -> pd.DataFrame:  # fmt: skip
    """The feature table with the columns of fitted blocks joined to it.

    Raises
    ------
    ValueError
        A block gave another number of rows, or columns under a name that is not its own.
    """
    parts = [table]
    plan = table.index.to_frame(index=False)[["patient_id", "landmark_h"]]
    for block in blocks:
        made = block.columns(cohort, plan, np.asarray(at_h, dtype=float))
        strange = [name for name in made.columns if not str(name).startswith(f"{block.name}.")]
        if strange or len(made) != len(table):
            raise ValueError(f"block {block.name!r}: {len(made)} rows for {len(table)}, columns {strange[:3]}")
        parts.append(made.set_axis(table.index, axis=0))
    return pd.concat(parts, axis=1)
