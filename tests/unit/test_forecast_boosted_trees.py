"""Trees read from LightGBM's text give what LightGBM gives."""

from __future__ import annotations

from itertools import combinations
from math import factorial
from typing import Any

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray

from icans.forecast.models import boosted_trees
from icans.forecast.models.boosted_trees import BoostedTrees, pack, unpack

Floats = NDArray[np.float64]

SETTINGS: list[dict[str, Any]] = [
    {"num_leaves": 4},  # as the package grows them
    {"num_leaves": 7, "use_missing": False},  # a NaN is a zero
    {"num_leaves": 7, "zero_as_missing": True},  # a zero is missing
    {"num_leaves": 2, "bagging_fraction": 0.7, "bagging_freq": 1},
]


def grown(settings: dict[str, Any], *, gaps: float, seed: int = 0, trees: int = 25) -> tuple[lightgbm.Booster, Floats]:
    """Trees on random columns with ties, zeros and missing values, and rows that they have not seen."""
    rng = np.random.default_rng(seed)

    def rows(n: int, share: float) -> Floats:
        X = rng.normal(size=(n, 6))
        X[:, 1], X[:, 2] = np.round(X[:, 1]), X[:, 2] > 0
        X[rng.random(X.shape) < 0.1] = 0.0
        X[rng.random(X.shape) < share] = np.nan
        return X

    X = rows(300, gaps)
    y = (np.nan_to_num(X[:, 0]) + np.nan_to_num(X[:, 1] * X[:, 2]) + rng.normal(size=len(X)) > 0) * 1.0
    fixed = {"objective": "binary", "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 8, "seed": seed}
    return lightgbm.train(fixed | settings, lightgbm.Dataset(X, y), trees), rows(60, 0.2)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("gaps", [0.0, 0.2])
def test_predictions_are_the_librarys_bit_for_bit(settings: dict[str, Any], gaps: float) -> None:
    booster, rows = grown(settings, gaps=gaps, seed=len(settings))
    trees = BoostedTrees.read(booster.model_to_string())
    assert len(trees) == 25
    for count in (25, 7, 1):
        whole = booster.predict(rows, raw_score=True, num_iteration=count)
        np.testing.assert_array_equal(trees.raw(rows, count), whole)
        np.testing.assert_array_equal([trees.raw(row[None], count)[0] for row in rows], whole)
    np.testing.assert_array_equal(trees.raw(rows), booster.predict(rows, raw_score=True))
    np.testing.assert_array_equal(trees.raw(rows, 0), np.zeros(len(rows)))


@pytest.mark.parametrize("settings", SETTINGS)
def test_shapley_values_are_the_librarys(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    booster, rows = grown(settings, gaps=0.2)
    trees = BoostedTrees.read(booster.model_to_string())
    wanted = np.asarray(booster.predict(rows, pred_contrib=True))[:, :-1]
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(trees.contributions(rows), wanted, atol=1e-12)
    monkeypatch.setattr(boosted_trees, "AT_ONCE", 2_000)  # a few rows at a time
    np.testing.assert_allclose(trees.contributions(rows), wanted, atol=1e-12)


def test_shapley_values_of_a_product_are_those_of_its_coalitions() -> None:
    rng = np.random.default_rng(4)
    without, known = rng.random((3, 4)), (rng.random((2, 3, 4)) > 0.4) * 1.0
    found = boosted_trees._product_game(without, known)
    for row, leaf, i in np.ndindex(2, 3, 4):
        others, total = [j for j in range(4) if j != i], 0.0
        for size in range(4):
            for inside in combinations(others, size):
                rest = [j for j in others if j not in inside]
                gain = known[row, leaf, i] - without[leaf, i]
                worth = gain * known[row, leaf, list(inside)].prod() * without[leaf, rest].prod()
                total += factorial(size) * factorial(3 - size) / factorial(4) * worth
        assert found[row, leaf, i] == pytest.approx(total, abs=1e-14)


def test_trees_without_a_split_say_nothing_of_a_column() -> None:
    booster, rows = grown({"num_leaves": 4, "min_gain_to_split": 1e9}, gaps=0.0, trees=2)
    trees = BoostedTrees.read(booster.model_to_string())
    np.testing.assert_array_equal(trees.raw(rows), booster.predict(rows, raw_score=True))
    assert not trees.contributions(rows).any()


def _with(text: str, name: str, value: str) -> str:
    """The text with the first line ``name=`` changed."""
    lines = text.split("\n")
    at = next(k for k, line in enumerate(lines) if line.startswith(f"{name}="))
    return "\n".join([*lines[:at], f"{name}={value}", *lines[at + 1 :]])


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("num_class", "3", "one output"), ("left_child", "0 0 0", "no tree"), ("right_child", "1 9 9", "no tree"),
     ("left_child", "-1 -1 -1", "no tree"), ("threshold", "0.5", "has 1 values of 'threshold'"),
     ("split_feature", "0 1 77", "a column that there is not"), ("split_feature", "0 -2 1", "no tree"),
     ("num_cat", "1", "categorical"), ("is_linear", "1", "linear"), ("decision_type", "2 1 2", "categorical")],
)  # fmt: skip
def test_what_is_no_tree_is_refused(name: str, value: str, said: str) -> None:
    text = grown({"num_leaves": 4}, gaps=0.0, trees=1)[0].model_to_string()
    BoostedTrees.read(text)
    with pytest.raises(ValueError, match=said):
        BoostedTrees.read(_with(text, name, value))


def test_categorical_splits_are_refused() -> None:
    rng = np.random.default_rng(1)
    X = rng.integers(0, 6, (400, 1)).astype(float)
    y = np.isin(X[:, 0], [1, 4]) * 1.0
    fixed = {"objective": "binary", "verbosity": -1, "num_threads": 1}
    booster = lightgbm.train(fixed, lightgbm.Dataset(X, y, categorical_feature=[0]), 2)
    with pytest.raises(ValueError, match="categorical"):
        BoostedTrees.read(booster.model_to_string())


def test_trees_as_arrays_are_the_same_trees() -> None:
    several = [BoostedTrees.read(grown({"num_leaves": k}, gaps=0.1, trees=k)[0].model_to_string()) for k in (3, 5)]
    models = [None, several[0], None, several[1]]
    again = unpack(pack(models), 6)
    rows = grown({}, gaps=0.1, trees=1)[1]
    for before, after in zip(models, again, strict=True):
        assert (before is None) == (after is None)
        if before is not None and after is not None:
            np.testing.assert_array_equal(after.raw(rows), before.raw(rows))
            np.testing.assert_array_equal(after.contributions(rows), before.contributions(rows))
    assert unpack(pack([]), 6) == []
    assert unpack(pack([None]), 6) == [None]


@pytest.mark.parametrize(
    ("name", "at", "value"),
    [("left", 0, 0), ("right", 0, 9999), ("root", 0, -1), ("root", 1, 9999), ("feature", 0, 6), ("sizes", 1, 3)],
)
def test_arrays_that_are_no_trees_are_refused(name: str, at: int, value: int) -> None:
    arrays = pack([BoostedTrees.read(grown({"num_leaves": 4}, gaps=0.0, trees=3)[0].model_to_string())])
    changed = arrays[name].copy()
    changed.flat[at] = value
    with pytest.raises(ValueError, match="no trees"):
        unpack(arrays | {name: changed}, 6)
