"""Boosted trees grown by LightGBM, asked without it: its import would be most of a single forecast.

:meth:`BoostedTrees.read` takes the library's own text (:meth:`lightgbm.Booster.model_to_string`); a model file holds
arrays. Predictions are the library's, bit for bit: leaf values are added tree by tree. Shapley values are
those of ``pred_contrib`` (Lundberg SM et al., Nat Mach Intell 2020;2:56, path-dependent), found leaf by leaf: a leaf
adds its value times a product of one factor a feature, and Shapley values of a product have a closed form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

#: LightGBM's zero: values this small count as 0.
ZERO = 1e-35
#: Numbers held at once while Shapley values are computed (rows x leaves x features of a path).
AT_ONCE = 4_000_000
#: Bits of LightGBM's decision_type: categorical split; missing values go left; kind of missing (none, zero, NaN).
_CATEGORICAL, _LEFT, _KIND = 1, 2, 2
_IS_ZERO, _IS_NAN = 1, 2


@dataclass(frozen=True)
class BoostedTrees:
    """Trees of one output, each added to the others.

    Attributes
    ----------
    root
        First node of each tree, shape (trees,).
    feature
        Column asked at each node; -1: a leaf. Shape (nodes,), as all that follow.
    left, right
        The nodes that follow.
    threshold
        To the left when the column's value is not above this.
    kind, to_left
        What counts as missing there (0: nothing, a NaN is a zero; 1: zero; 2: NaN), and whether it goes left.
    value
        Value of a leaf (0 elsewhere).
    rows
        Training rows that came through.
    """

    root: Ints
    feature: Ints
    left: Ints
    right: Ints
    threshold: Floats
    kind: Ints
    to_left: Mask
    value: Floats
    rows: Floats

    @classmethod
    def read(cls, text: str) -> BoostedTrees:
        """Trees from LightGBM's text.

        Raises
        ------
        ValueError
            Not such a text, or of a kind that is not read here: several outputs, averaged or linear trees, categorical
            splits; or nodes that are no tree.
        """
        head, *blocks = text.split("\nTree=")
        told = _entries(head)
        if told.get("num_class") != "1" or told.get("num_tree_per_iteration") != "1" or "average_output" in told:
            raise ValueError("only boosted trees of one output are read")
        trees = [_tree(block.split("\nend of trees", 1)[0]) for block in blocks]
        columns = int(told.get("max_feature_idx", "-1")) + 1
        if any((tree["feature"] >= columns).any() for tree in trees):
            raise ValueError("a tree asks for a column that there is not")
        sizes = [len(tree["feature"]) for tree in trees]
        root = np.cumsum([0, *sizes])[:-1].astype(np.int64)
        for start, tree in zip(root, trees, strict=True):
            inner = tree["feature"] >= 0
            for side in ("left", "right"):
                tree[side] = np.where(inner, tree[side] + start, -1)
        empty = _tree("num_leaves=1\nleaf_value=0")
        joined = {name: np.concatenate([like[:0], *(t[name] for t in trees)]) for name, like in empty.items()}
        return cls(root, **joined)

    def __len__(self) -> int:
        return len(self.root)

    def raw(self, X: Floats, trees: int | None = None) -> Floats:
        """Sum of the first ``trees`` trees (None: all) for each row, shape (n,)."""
        root = self.root[:trees]
        if not len(root):
            return np.zeros(len(X))
        node = np.repeat(root[:, None], len(X), axis=1)
        while True:
            moving = self.feature[node] >= 0
            if not moving.any():
                break
            tree, row = np.nonzero(moving)
            at = node[tree, row]
            node[tree, row] = np.where(self._left_at(X[row, self.feature[at]], at), self.left[at], self.right[at])
        # A running sum adds in the library's order; a plain sum would pair the terms.
        return np.asarray(np.cumsum(self.value[node], axis=0)[-1])

    def contributions(self, X: Floats) -> Floats:
        """Shapley values of each column on the raw score, shape (n, p)."""
        found = np.zeros(X.shape)
        paths = self._paths
        step = max(1, AT_ONCE // max(1, paths.share.size * paths.share.shape[1]))
        for start in range(0, len(X) if paths.share.size else 0, step):
            part = X[start : start + step]
            asked = np.flatnonzero(self.feature >= 0)
            left = np.zeros((len(part), len(self.feature)), dtype=bool)
            left[:, asked] = self._left_at(part[:, self.feature[asked]], asked)
            each = _product_game(paths.share, paths.held(left)) * paths.value[None, :, None]
            row = np.arange(len(part))[:, None, None] * X.shape[1]
            found[start : start + step] = np.bincount(
                (row + paths.feature[None]).ravel(), each.ravel(), part.size
            ).reshape(part.shape)  # fmt: skip
        return found

    def _left_at(self, value: Floats, node: Ints) -> Mask:
        """Whether values go left at nodes (LightGBM's ``NumericalDecision``), shapes that broadcast."""
        unknown = np.isnan(value)
        known = np.where(unknown, 0.0, value)
        zero = np.abs(known) <= ZERO
        kind = self.kind[node]
        missing = np.where(kind == _IS_NAN, unknown, (kind == _IS_ZERO) & zero)
        return np.asarray(np.where(missing, self.to_left[node], known <= self.threshold[node]))

    @cached_property
    def _paths(self) -> _Paths:
        return _Paths.of(self)


#: Types in which arrays lie in a file: trees of a hybrid and its refits have a million nodes.
_STORED = {"feature": np.int32, "left": np.int32, "right": np.int32, "threshold": np.float64, "kind": np.int8,
           "to_left": np.bool_, "value": np.float64, "rows": np.int64}  # fmt: skip


def pack(models: Sequence[BoostedTrees | None]) -> dict[str, NDArray[Any]]:
    """Several sets of trees (None: no tree) as arrays, one behind the other."""
    there = [model for model in models if model is not None]
    found: dict[str, NDArray[Any]] = {
        name: np.concatenate([np.empty(0, dtype), *(getattr(m, name).astype(dtype) for m in there)])
        for name, dtype in _STORED.items()
    }
    found["root"] = np.concatenate([np.empty(0, np.int32), *(m.root.astype(np.int32) for m in there)])
    sizes = [(-1, 0) if m is None else (len(m.root), len(m.feature)) for m in models]
    return found | {"sizes": np.array(sizes, dtype=np.int64).reshape(-1, 2)}


def unpack(arrays: Mapping[str, NDArray[Any]], columns: int) -> list[BoostedTrees | None]:
    """The inverse of :func:`pack`, for rows of ``columns`` columns; ValueError for what are no trees."""
    sizes = np.asarray(arrays["sizes"], dtype=np.int64).reshape(-1, 2)
    trees, nodes = np.maximum(sizes[:, 0], 0), sizes[:, 1]
    values: dict[str, NDArray[Any]] = {name: np.asarray(arrays[name], dtype=dtype) for name, dtype in _STORED.items()}
    root = np.asarray(arrays["root"], dtype=np.int64)
    inner = values["feature"] >= 0
    own, size = np.arange(nodes.sum()) - np.repeat(np.cumsum(nodes) - nodes, nodes), np.repeat(nodes, nodes)
    sound = (nodes >= 0).all() and all(v.shape == own.shape for v in values.values()) and len(root) == trees.sum()
    # Every step leads on, or a walk would never end.
    for side in ("left", "right") if sound else ():
        step = values[side][inner]
        sound = sound and bool((step > own[inner]).all() and (step < size[inner]).all())
    sound = sound and bool((root >= 0).all() and (root < np.repeat(nodes, trees)).all())
    if not sound or (values["feature"] >= columns).any():
        raise ValueError("these arrays are no trees")
    made: list[BoostedTrees | None] = []
    for k, count in enumerate(sizes[:, 0].tolist()):
        a, t = int(nodes[:k].sum()), int(trees[:k].sum())
        parts: dict[str, Any] = {name: v[a : a + nodes[k]] for name, v in values.items()}
        made.append(None if count < 0 else BoostedTrees(root[t : t + count], **parts))
    return made


@dataclass(frozen=True)
class _Paths:
    """Ways to the leaves: for each leaf the features asked on its way (padded by ones that change nothing).

    ``feature`` and ``share`` (product of the shares of training rows that went on) have the shape (leaves, longest
    way); ``turns`` are, for each depth, the leaves that are so deep, the place of the feature, node, and side.
    """

    value: Floats
    feature: Ints
    share: Floats
    turns: tuple[tuple[Ints, Ints, Ints, Mask], ...]

    @classmethod
    def of(cls, trees: BoostedTrees) -> _Paths:
        """Collect the ways, from the leaves up, all leaves at once."""
        inner = np.flatnonzero(trees.feature >= 0)
        parent, from_left = np.full(len(trees.feature), -1), np.zeros(len(trees.feature), dtype=bool)
        parent[trees.left[inner]] = parent[trees.right[inner]] = inner
        from_left[trees.left[inner]] = True
        leaves = np.flatnonzero((trees.feature < 0) & (parent >= 0))
        feature, share = np.full((len(leaves), 1), -1), np.ones((len(leaves), 1))
        turns = []
        who, at = np.arange(len(leaves)), leaves
        while len(who):
            node = parent[at]
            asked = trees.feature[node].astype(np.int64)
            known = feature[who] == asked[:, None]
            place = np.where(known.any(axis=1), known.argmax(axis=1), (feature[who] >= 0).sum(axis=1))
            if place.max() == feature.shape[1]:
                feature, share = np.pad(feature, ((0, 0), (0, 1)), constant_values=-1), np.pad(share, ((0, 0), (0, 1)))
                share[:, -1] = 1.0
            feature[who, place] = asked
            share[who, place] *= trees.rows[at] / trees.rows[node]
            turns.append((who, place, node, from_left[at]))
            further = parent[node] >= 0
            who, at = who[further], node[further]
        return cls(trees.value[leaves], np.maximum(feature, 0), share, tuple(turns))

    def held(self, left: Mask) -> Floats:
        """1 where a row does what the way asks of a feature, else 0; shape (n, leaves, longest way)."""
        found = np.ones((len(left), *self.share.shape))
        for leaf, place, node, side in self.turns:
            found[:, leaf, place] *= left[:, node] == side
        return found


def _product_game(without: Floats, known: Floats) -> Floats:
    """Shapley values of the game whose worth is the product of ``known`` (players in) and ``without`` (players out).

    Parameters
    ----------
    without, known
        Factors of each player, shapes (leaves, players) and (n, leaves, players).
    """
    players = known.shape[-1]
    found = np.empty_like(known)
    for i in range(players):
        # Coefficients of the polynomial whose k-th one sums the products over all coalitions of k others.
        sums = np.zeros((*known.shape[:-1], players))
        sums[..., 0] = 1.0
        for j in (j for j in range(players) if j != i):
            sums[..., 1:] = sums[..., 1:] * without[:, j, None] + sums[..., :-1] * known[..., j, None]
            sums[..., 0] *= without[:, j]
        weight = [factorial(k) * factorial(players - 1 - k) / factorial(players) for k in range(players)]
        found[..., i] = (known[..., i] - without[:, i]) * (sums @ np.array(weight))
    return found


def _entries(block: str) -> dict[str, str]:
    """Lines ``name=value`` (a line without a value stands for itself)."""
    return {name: value for name, _, value in (line.partition("=") for line in block.splitlines())}


def _tree(block: str) -> dict[str, NDArray[Any]]:
    """One tree; its leaves follow its inner nodes."""
    told = _entries(block)
    leaves = int(told["num_leaves"])
    inner = leaves - 1
    if told.get("num_cat", "0") != "0" or told.get("is_linear", "0") != "0":
        raise ValueError("categorical splits and linear trees are not read")

    def numbers(name: str, count: int, default: str = "") -> Floats:
        found = np.array(told.get(name, default).split(), dtype=float)
        if len(found) != count:
            raise ValueError(f"a tree of {leaves} leaves has {len(found)} values of {name!r}")
        return found

    asked = [numbers(name, inner) for name in ("split_feature", "decision_type", "left_child", "right_child")]
    feature, decision, *children = (values.astype(np.int64) for values in asked)
    sides = [np.where(child >= 0, child, inner + ~child) for child in children]
    later = all((side > np.arange(inner)).all() and (side < inner + leaves).all() for side in sides)
    if not later or (feature < 0).any() or len(set(np.concatenate(sides).tolist())) < 2 * inner:
        raise ValueError("these nodes are no tree")
    if (decision & _CATEGORICAL).any():
        raise ValueError("categorical splits are not read")
    none = np.zeros(leaves)
    count = [numbers("internal_count", inner), numbers("leaf_count", leaves, "0" if leaves == 1 else "")]
    return {
        "feature": np.concatenate([feature, none.astype(np.int64) - 1]),
        "left": np.concatenate([sides[0], none.astype(np.int64)]),
        "right": np.concatenate([sides[1], none.astype(np.int64)]),
        "threshold": np.concatenate([numbers("threshold", inner), none]),
        "kind": np.concatenate([decision >> _KIND, none.astype(np.int64)]),
        "to_left": np.concatenate([(decision & _LEFT) > 0, none > 0]),
        "value": np.concatenate([np.zeros(inner), numbers("leaf_value", leaves)]),
        "rows": np.concatenate(count),
    }
