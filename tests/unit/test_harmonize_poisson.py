"""The tail of a Poisson variable without scipy is scipy's."""

from __future__ import annotations

import pytest
from scipy.special import pdtrc

from icans.harmonize.censoring import poisson_tail


@pytest.mark.parametrize("mean", [0.0, 1e-9, 0.3, 1.0, 4.7, 60.0, 2000.0])
@pytest.mark.parametrize("excess", [1.0, 1.5, 3.0, 10.0])
def test_tail(mean: float, excess: float) -> None:
    for rows in (max(1, round(mean * excess)), max(3, round(mean * excess) + 7)):
        assert poisson_tail(rows, mean) == pytest.approx(pdtrc(rows - 1, mean), rel=1e-10, abs=1e-300)
