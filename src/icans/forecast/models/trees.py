"""Many regression trees as arrays: prediction and the way a prediction was reached, without the library that grew them.

All trees lie in one list of nodes. A leaf has feature -1. Values are those of every node (mean of the training rows
that came through it), so that a prediction splits into the steps that the splits on the way made (Saabas 2014; for
forests Palczewska A et al., doi 10.1007/978-3-319-04717-1_9).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Trees:
    """Trees of many outputs.

    Attributes
    ----------
    root
        First node of each tree, shape (trees,).
    feature, left, right
        Column asked at each node (-1: leaf) and the nodes that follow, shape (nodes,).
    threshold
        To the left when the column's value, in single precision, is not above this.
    value
        Shape (nodes, outputs).
    """

    root: Ints
    feature: Ints
    left: Ints
    right: Ints
    threshold: Floats
    value: Floats

    @classmethod
    def of(cls, grown: Sequence[Any]) -> Trees:
        """From fitted scikit-learn regression trees."""
        counts = [one.tree_.node_count for one in grown]
        root = np.cumsum([0, *counts[:-1]]).astype(np.int64)
        parts: dict[str, list[NDArray[Any]]] = {"feature": [], "left": [], "right": [], "threshold": [], "value": []}
        for start, one in zip(root, grown, strict=True):
            tree = one.tree_
            leaf = tree.children_left < 0
            parts["feature"].append(np.where(leaf, -1, tree.feature))
            parts["left"].append(np.where(leaf, -1, tree.children_left + start))
            parts["right"].append(np.where(leaf, -1, tree.children_right + start))
            parts["threshold"].append(np.where(leaf, 0.0, tree.threshold))
            parts["value"].append(tree.value[:, :, 0])
        joined = {name: np.concatenate(values) for name, values in parts.items()}
        integer = {name: joined[name].astype(np.int64) for name in ("feature", "left", "right")}
        return cls(root, **integer, threshold=joined["threshold"], value=joined["value"])

    def predict(self, X: Floats) -> Floats:
        """Mean over trees, shape (n, outputs)."""
        leaf = self.leaves(X)
        return np.asarray(self.value[leaf].mean(axis=0))

    def leaves(self, X: Floats) -> Ints:
        """Leaf of each row in each tree, shape (trees, n)."""
        node = np.repeat(self.root[:, None], len(X), axis=1)
        for _, _, node in self._steps(X):  # noqa: B007
            pass
        return node

    def parts(self, X: Floats, output: int) -> Floats:
        """What splits on each column added to the mean of the roots, mean over trees, shape (n, columns)."""
        size = len(X) * X.shape[1]
        total = np.zeros(size)
        value = self.value[:, output]
        for before, moved, after in self._steps(X):
            tree, row = np.nonzero(moved)
            old, new = before[tree, row], after[tree, row]
            total += np.bincount(row * X.shape[1] + self.feature[old], value[new] - value[old], size)
        return total.reshape(X.shape) / len(self.root)

    def _steps(self, X: Floats) -> Any:
        """Nodes before, who moved, nodes after, one step down at a time."""
        single = X.astype(np.float32)
        node = np.repeat(self.root[:, None], len(X), axis=1)
        rows = np.arange(len(X))[None, :]
        while True:
            asked = self.feature[node]
            moved = asked >= 0
            if not moved.any():
                return
            left = single[rows, np.maximum(asked, 0)] <= self.threshold[node]
            after = np.where(moved, np.where(left, self.left[node], self.right[node]), node)
            yield node, moved, after
            node = after

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name."""
        return {name: getattr(self, name) for name in ("root", "feature", "left", "right", "threshold", "value")}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Trees:
        """Trees from arrays, checked: every step leads on (a loop would never end), every column is asked for.

        Raises
        ------
        ValueError
            Shapes or nodes that cannot be a forest.
        """
        integer = {name: np.asarray(arrays[name]).astype(np.int64) for name in ("root", "feature", "left", "right")}
        threshold, value = (np.asarray(arrays[name], dtype=float) for name in ("threshold", "value"))
        nodes = np.arange(len(threshold))
        inner = integer["feature"] >= 0
        sound = all(len(integer[name]) == len(nodes) for name in ("feature", "left", "right"))
        sound = sound and value.ndim == 2 and len(value) == len(nodes)
        if sound:
            for name in ("left", "right"):
                step = integer[name][inner]
                sound = sound and bool((step > nodes[inner]).all() and (step < len(nodes)).all())
            sound = sound and bool(((integer["root"] >= 0) & (integer["root"] < len(nodes))).all())
        if not sound:
            raise ValueError("these arrays are not a forest of trees")
        return cls(**integer, threshold=threshold, value=value)
