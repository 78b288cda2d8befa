"""Log-likelihood terms: against scipy's distributions, and their derivatives against differences."""

import numpy as np
import pytest
from scipy import stats

from icans.population.nlme.observed import Observation, Outcome
from icans.population.nlme.population import error_layout
from icans.population.nlme.records import INTERVAL, LEFT, QUANTIFIED, RIGHT
from icans.population.nlme.rows import EVENT, NODE
from icans.population.nlme.terms import Columns, terms

MEASURED = [
    Observation("y", "y", e, 0.4, 0.3, censoring=c, floor=floor, batches=("other",))
    for e in ("additive", "proportional", "combined", "combined1", "lognormal", "student", "logstudent")
    for c in ("M3", "M2", "M4")
    for floor in (0.0, 0.05)
]
OUTCOMES = [
    Outcome("g", "y", "ordinal", (-0.5, 0.7, 1.9), 0.8),
    Outcome("g", "y", "ordinal", (0.3,), 1.2, memory=0.9),
    Outcome("n", "y", "count", (0.2,), 0.5),
    Outcome("n", "y", "count", (0.2,), 0.5, dispersion=0.7),
    Outcome("e", "y", "event", (-1.0,), 0.5),
]


def columns(what, n):
    if isinstance(what, Observation):
        role = np.array([QUANTIFIED, LEFT, RIGHT, INTERVAL] * (n // 4))
        value = np.linspace(0.3, 2.5, n)
        return Columns(role, value, value * 1.7 if what.censoring != "M2" else np.where(role == 0, 0.1, value * 1.7),
                       np.zeros(n), np.zeros(n), np.arange(n) % 2)  # fmt: skip
    role = {"event": np.array([NODE, EVENT] * (n // 2)), "count": np.zeros(n, int)}.get(
        what.kind, np.array([QUANTIFIED, LEFT, RIGHT, QUANTIFIED] * (n // 4))
    )
    top = len(what.cuts) if what.kind == "ordinal" else 5
    value = (np.arange(n) * 7 % (top + 1)).astype(float)
    return Columns(role, value, np.full(n, np.nan), np.full(n, 0.3), np.arange(n) % 3 * 1.0, np.zeros(n, int))


@pytest.mark.parametrize("what", MEASURED + OUTCOMES, ids=lambda o: f"{o.name}-{getattr(o, 'error', o.name)}")
def test_derivatives_are_those_of_the_log_likelihood(what):
    mine = error_layout([what])
    start = {"a": 0.4, "b": 0.3, "batch": 0.2, "slope": 0.8, "memory": 0.9, "dispersion": 0.7}
    errors = np.array([start[e.field] if e.field in start else what.cuts[e.place] for e in mine])
    n, h = 16, 1e-6
    u, c = np.linspace(0.4, 2.2, n), columns(what, n)
    here = terms(what, mine, errors, u, c)
    numeric = (terms(what, mine, errors, u + h, c).logp - terms(what, mine, errors, u - h, c).logp) / (2 * h)
    np.testing.assert_allclose(here.slope, numeric, rtol=2e-6, atol=2e-8)
    for j in range(len(mine)):
        step = np.eye(len(mine))[j] * h
        numeric = (terms(what, mine, errors + step, u, c).logp - terms(what, mine, errors - step, u, c).logp) / (2 * h)
        np.testing.assert_allclose(here.errors[:, j], numeric, rtol=2e-6, atol=2e-8)


def test_values_and_limits_are_scipys():
    what = Observation("y", "y", "combined", 0.5, 0.2)
    mine, errors = error_layout([what]), np.array([0.5, 0.2])
    f = np.array([1.0, 2.0, 3.0, 1.5])
    c = Columns(np.array([QUANTIFIED, LEFT, RIGHT, INTERVAL]), np.array([1.2, 0.5, 4.0, 1.0]),
                np.array([np.nan, np.nan, np.nan, 2.0]), np.zeros(4), np.zeros(4), np.zeros(4, int))  # fmt: skip
    d = stats.norm(f, np.sqrt(0.25 + 0.04 * f**2))
    wanted = [d.logpdf(1.2)[0], d.logcdf(0.5)[1], d.logsf(4.0)[2], np.log(d.cdf(2.0) - d.cdf(1.0))[3]]
    np.testing.assert_allclose(terms(what, mine, errors, f, c).logp, wanted, rtol=1e-12)


def test_lognormal_values_have_the_density_of_the_value_itself():
    what = Observation("y", "y", "lognormal", 0.3)
    c = Columns(np.zeros(1, int), np.array([2.0]), np.array([np.nan]), np.zeros(1), np.zeros(1), np.zeros(1, int))
    got = terms(what, error_layout([what]), np.array([0.3]), np.array([1.5]), c).logp
    np.testing.assert_allclose(got, stats.lognorm(0.3, scale=1.5).logpdf([2.0]), rtol=1e-12)


def test_probabilities_of_all_grades_sum_to_one_and_counts_are_scipys():
    what = OUTCOMES[0]
    mine, errors = error_layout([what]), np.array([-0.5, 0.7, 1.9, 0.8])
    c = Columns(np.zeros(4, int), np.arange(4.0), np.full(4, np.nan), np.zeros(4), np.zeros(4), np.zeros(4, int))
    assert np.exp(terms(what, mine, errors, np.full(4, 1.1), c).logp).sum() == pytest.approx(1.0, abs=1e-14)
    what = OUTCOMES[3]
    mean, size = np.exp(0.2 + 0.5 * 1.1), 1 / 0.7
    got = terms(what, error_layout([what]), np.array([0.2, 0.5, 0.7]), np.full(4, 1.1), c).logp
    np.testing.assert_allclose(got, stats.nbinom(size, size / (size + mean)).logpmf(np.arange(4)), rtol=1e-12)


def test_far_tails_stay_finite():
    what = Observation("y", "y", "additive", 0.1)
    c = Columns(np.array([LEFT, RIGHT, INTERVAL]), np.array([0.0, 9.0, 8.0]), np.array([np.nan, np.nan, 8.5]),
                np.zeros(3), np.zeros(3), np.zeros(3, int))  # fmt: skip
    got = terms(what, error_layout([what]), np.array([0.1]), np.array([5.0, 1.0, 1.0]), c)
    assert np.isfinite(got.logp).all()
    assert np.isfinite(got.slope).all()
    assert (got.information > 0).all()
