"""Designs of a sweep and what they find, on outcomes that are known functions of the parameters."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from icans.study.tissue_sweep import effects, sample
from icans.tissue.run.spec import SweepAxis

AXES = (
    SweepAxis(path="cell.T.kill rate", low=0.01, high=1.0, log=True),
    SweepAxis(path="rule.1.half_max", low=2.0, high=4.0),
    SweepAxis(path="brain.hill", low=0.0, high=1.0),
)


def outcome(points: np.ndarray) -> np.ndarray:
    """A half of the first's place on its scale, a quarter of the second's, nothing of the third's."""
    return 4 * np.log(points[:, 0] / 0.01) / np.log(100) + 2 * (points[:, 1] - 2) / 2


@pytest.mark.parametrize(("method", "size"), [("morris", 8), ("sobol", 60), ("random", 60)])
def test_each_design_ranks_the_parameters_and_stays_in_their_ranges(method, size):
    points = sample(AXES, method, size, seed=3)
    assert (points >= [0.01 - 1e-12, 2.0, 0.0]).all()
    assert (points <= [1.0 + 1e-12, 4.0, 1.0]).all()
    runs = pd.DataFrame({"mean of y": outcome(points), "sd of y": 0.3, "mean of flat": 1.0, "sd of flat": 0.0})
    table = effects(points, AXES, runs.assign(replicates=9), method, size, seed=3)
    y = table[table.outcome == "y"].set_index("parameter")["effect"]
    assert y.iloc[0] > y.iloc[1] > abs(y.iloc[2])
    expected = {"morris": (4.0, 2.0), "sobol": (0.8, 0.2)}.get(method)
    if expected:
        assert y.iloc[:2].to_numpy() == pytest.approx(expected, rel=0.1)
        assert y.iloc[2] == pytest.approx(0.0, abs=1e-9)
    assert table[table.outcome == "y"]["noise_sd"].to_numpy() == pytest.approx(0.1)
    assert (table[table.outcome == "flat"]["effect"] == 0).all()


def test_a_range_that_is_none_is_refused():
    with pytest.raises(ValueError, match="low below high"):
        SweepAxis(path="a", low=2.0, high=1.0)
    with pytest.raises(ValueError, match="logarithmic"):
        SweepAxis(path="a", low=0.0, high=1.0, log=True)
