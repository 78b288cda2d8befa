"""A feature table as names and arrays: what a question to a data frame costs would be most of a single forecast.

A hybrid asks the table of one patient some thousand times (each expert, each refit, each horizon). A data frame takes
a fifth of a millisecond to give some of its columns, arrays take a fiftieth of that. :class:`Plain` behaves as a data
frame does in the few ways in which fitted models use one: ``columns``, ``index``, ``shape``, ``len``, and columns by a
list of names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
#: Code of each row (-1: missing) and the label of each code.
Coded = tuple[Ints, list[object]]


@dataclass(frozen=True)
class Plain:
    """Columns of a feature table.

    Attributes
    ----------
    columns
        Names.
    values
        Shape (rows, columns); NaN in columns of categories.
    words
        Columns of categories, coded.
    index
        Index of the table (patient_id, landmark_h).
    landmark_h
        Landmark of each row, hours.
    """

    columns: list[str]
    values: Floats
    words: dict[str, Coded]
    index: pd.MultiIndex
    landmark_h: Floats

    @classmethod
    def of(cls, table: pd.DataFrame) -> Plain:
        """A feature table as arrays."""
        numeric = np.array([pd.api.types.is_numeric_dtype(t) for t in table.dtypes], dtype=bool)
        values = np.full(table.shape, np.nan)
        values[:, numeric] = table.loc[:, numeric].to_numpy(dtype=float)
        words = {str(name): coded(table[name]) for name in table.columns[~numeric]}
        at = table.index.get_level_values("landmark_h").to_numpy(dtype=float)
        return cls(table.columns.tolist(), values, words, table.index, at)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.values.shape[0], self.values.shape[1]

    def __getitem__(self, names: Sequence[str]) -> Plain:
        """Some columns, in the order asked for; KeyError where there is one that is not there."""
        if names == self.columns:
            return self
        place = self._place
        return self._taken(list(names), [place[name] for name in names])

    def reindexed(self, names: Sequence[str]) -> Plain:
        """Some columns, in the order asked for; missing everywhere where there is no such column."""
        if names == self.columns:
            return self
        place = [self._place.get(name, -1) for name in names]
        found = self._taken(list(names), place)
        gone = np.array(place) < 0
        if gone.any():
            found.values[:, gone] = np.nan
        return found

    def rows(self, mask: NDArray[np.bool_]) -> Plain:
        """Some rows, by a mask."""
        if mask.all():
            return self
        words = {name: (code[mask], labels) for name, (code, labels) in self.words.items()}
        return Plain(self.columns, self.values[mask], words, self.index[mask], self.landmark_h[mask])

    def present(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """Whether a row has a value in any of the columns (those that there are), shape (rows,)."""
        place = self._place
        mine = [place[name] for name in names if name in place]
        found = ~np.isnan(self.values[:, mine]).all(axis=1) if mine else np.zeros(len(self), dtype=bool)
        for name, (code, _) in self.words.items():
            if name in names:
                found |= code >= 0
        return np.asarray(found)

    def numbers(self, names: Sequence[str]) -> Floats:
        """Columns as numbers, shape (rows, columns); ValueError for categories that are none."""
        place = self._place
        found = self.values if names == self.columns else self.values[:, [place[name] for name in names]]
        for name in [name for name in self.words if name in names]:
            found = found.copy()
            found[:, list(names).index(name)] = self._as_numbers(name)
        return found

    def coded(self, name: str) -> Coded:
        """A column as categories."""
        if name in self.words:
            return self.words[name]
        return coded(pd.Series(self.values[:, self._place[name]]))

    @cached_property
    def _place(self) -> dict[str, int]:
        return {name: k for k, name in enumerate(self.columns)}

    def _taken(self, names: list[str], place: list[int]) -> Plain:
        words = {name: self.words[name] for name in self.words if name in set(names)} if self.words else {}
        return Plain(names, self.values[:, place], words, self.index, self.landmark_h)

    def _as_numbers(self, name: str) -> Floats:
        code, labels = self.words[name]
        return np.array([*labels, np.nan], dtype=object)[code].astype(float)


#: What fitted models of tables are asked with.
Table = pd.DataFrame | Plain


def coded(column: pd.Series) -> Coded:
    """Code of each row (-1: missing) and the label of each code."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return np.asarray(column.cat.codes, dtype=np.intp), column.cat.categories.tolist()
    code, levels = pd.factorize(column.astype(object))
    return np.asarray(code, dtype=np.intp), list(levels)
