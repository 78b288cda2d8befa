"""Linear compartments: textbook formulas, limits, steady states written out, mass, impossible parameters, bad doses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from icans.core.errors import ModelError
from icans.population.nlme.compartments import compartment_model
from icans.population.nlme.records import Administration, Subject

TIMES = np.array([0.0, 0.5, 1.0, 3.0, 7.0, 12.0, 24.0, 50.0])


def course(model, psi, doses, output="central", times=TIMES, occasions=()):
    psi = np.atleast_2d(np.asarray(psi, dtype=float))[None]
    where = np.full((1, len(times)), model.outputs.index(output))
    subject = Subject("synthetic", pd.DataFrame(), tuple(doses), {}, occasions)
    values, by = model.bind([subject], np.asarray(times, float)[None], where).derivatives(psi, np.array([0]))
    return values[0], by[0]


def bateman(dose, cl, v, ka, t):
    """Gibaldi and Perrier 1982, equation 1.83."""
    k = cl / v
    return dose * ka / v / (ka - k) * (np.exp(-k * t) - np.exp(-ka * t))


def test_one_compartment_oral_is_batemans_function():
    values, _ = course(compartment_model(1, "first"), [2.8, 32.0, 1.5], [Administration(0.0, 320.0)])
    np.testing.assert_allclose(values, bateman(320.0, 2.8, 32.0, 1.5, TIMES), rtol=1e-12)


def test_where_ka_is_k_the_limit_is_exact_and_smooth():
    model, dose, k = compartment_model(1, "first", parameterisation="rates"), [Administration(0.0, 100.0)], 0.2
    at, by = course(model, [k, 10.0, k], dose)
    np.testing.assert_allclose(at, 10.0 * k * TIMES * np.exp(-k * TIMES), rtol=1e-14)
    # d/dka of ka (exp(-k t) - exp(-ka t)) / (ka - k) at ka = k, by l'Hopital's rule
    np.testing.assert_allclose(by[:, 0, 2], 10.0 * np.exp(-k * TIMES) * (TIMES - k * TIMES**2 / 2.0), rtol=1e-13)
    for distance in (1e-15, 1e-12, 1e-9, 1e-6, 1e-3, 3e-2):
        near, near_by = course(model, [k, 10.0, k * (1.0 + distance)], dose)
        np.testing.assert_allclose(near, at + by[:, 0, 2] * k * distance, atol=20.0 * distance**2 + 1e-14)
        np.testing.assert_allclose(near_by, by, atol=300.0 * distance + 1e-12)


def test_two_compartment_bolus_is_biexponential():
    cl, v, q, v2 = 3.0, 15.0, 4.0, 30.0
    k, k12, k21 = cl / v, q / v, q / v2
    total = k + k12 + k21
    alpha = (total + np.sqrt(total**2 - 4.0 * k * k21)) / 2.0
    beta = k * k21 / alpha
    c = [(alpha - k21) / (alpha - beta), (k21 - beta) / (alpha - beta)]
    expected = 100.0 / v * (c[0] * np.exp(-alpha * TIMES[1:]) + c[1] * np.exp(-beta * TIMES[1:]))
    values, _ = course(compartment_model(2), [cl, v, q, v2], [Administration(0.0, 100.0)])
    np.testing.assert_allclose(values[1:], expected, rtol=1e-12)
    rates, _ = course(compartment_model(2, parameterisation="rates"), [k, v, k12, k21], [Administration(0.0, 100.0)])
    np.testing.assert_allclose(rates, values, rtol=1e-12)


def test_equal_peripheral_compartments_are_one_of_twice_the_size():
    dose = [Administration(0.0, 100.0)]
    two, by_two = course(compartment_model(2), [3.0, 15.0, 4.0, 30.0], dose)
    three, by = course(compartment_model(3), [3.0, 15.0, 2.0, 15.0, 2.0, 15.0], dose)
    np.testing.assert_allclose(three, two, rtol=1e-12)
    np.testing.assert_allclose(by[:, 0, 2] + by[:, 0, 4], 2.0 * by_two[:, 0, 2], rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(by[:, 0, 3] + by[:, 0, 5], 2.0 * by_two[:, 0, 3], rtol=1e-9, atol=1e-13)


def test_without_exchange_more_compartments_are_one():
    dose = [Administration(0.0, 100.0, duration_h=2.0)]
    one, by_one = course(compartment_model(1), [3.0, 15.0], dose)
    three, by = course(compartment_model(3), [3.0, 15.0, 0.0, 9.0, 0.0, 8.0], dose)
    np.testing.assert_allclose(three, one, rtol=1e-12)
    np.testing.assert_allclose(by[:, 0, :2], by_one[:, 0], rtol=1e-9, atol=1e-12)


def test_nothing_is_lost_where_nothing_is_cleared():
    model = compartment_model(3, "first")
    doses = [Administration(0.0, 70.0), Administration(1.0, 30.0, "peripheral", 4.0)]
    psi = [0.0, 15.0, 2.0, 9.0, 3.0, 8.0, 0.7]
    times = np.array([6.0, 20.0, 300.0])
    parts = [course(model, psi, doses, o, times)[0] for o in model.outputs if o != "central"]
    np.testing.assert_allclose(np.sum(parts, axis=0), 100.0, rtol=1e-12)


def test_the_area_under_the_curve_is_dose_over_clearance():
    """With a steady state, the mean concentration over an interval is dose / (clearance x interval)."""
    x, w = np.polynomial.legendre.leggauss(40)
    times = 6.0 * (x + 1.0)
    dose = [Administration(0.0, 100.0, interval_h=12.0)]
    for n, psi in ((1, [3.0, 15.0]), (2, [3.0, 15.0, 4.0, 30.0]), (3, [3.0, 15.0, 4.0, 30.0, 1.0, 60.0])):
        values, _ = course(compartment_model(n, "first"), [*psi, 0.9], dose, times=times)
        assert values @ w * 6.0 == pytest.approx(100.0 / 3.0, rel=1e-10)


@pytest.mark.parametrize("absorption", ["none", "first", "zero", "zero-first"])
@pytest.mark.parametrize("length", [0.0, 2.0])
def test_a_steady_state_is_many_doses_before(absorption, length):
    model = compartment_model(2, absorption, lag=True)
    psi = {"CL": 5.0, "V": 10.0, "Q": 3.0, "V2": 12.0, "ka": 0.8, "Tlag": 7.0, "D": 3.0}
    psi = [psi[n] for n in model.parameters]
    there, by = course(model, psi, [Administration(0.0, 10.0, duration_h=length, interval_h=8.0)])
    written = [Administration(8.0 * -i, 10.0, duration_h=length) for i in range(60)]
    expected, by_expected = course(model, psi, written)
    np.testing.assert_allclose(there, expected, rtol=1e-11)
    np.testing.assert_allclose(by, by_expected, rtol=1e-9, atol=1e-11)


def test_a_reset_empties_all_and_cancels_what_has_not_entered():
    model, psi = compartment_model(1, "first", lag=True), [3.0, 15.0, 1.0, 2.0]
    doses = [Administration(0.0, 50.0, "central", 10.0), Administration(4.0, 70.0)]
    doses += [Administration(5.0, 0.0, reset=True), Administration(6.0, 20.0)]
    values, _ = course(model, psi, doses, times=np.array([4.9, 5.0, 5.1, 8.0, 9.0]))
    assert values[0] > 0.0
    assert values[1] > 0.0  # an observation comes before what happens at its time
    assert values[2] == values[3] == 0.0
    np.testing.assert_allclose(values[4], bateman(20.0, 3.0, 15.0, 1.0, 1.0), rtol=1e-12)


def test_occasions_change_parameters_and_amounts_go_on():
    model, k = compartment_model(1, parameterisation="rates"), np.array([0.1, 0.5])
    psi = np.array([[k[0], 10.0], [k[1], 20.0]])
    values, by = course(model, psi, [Administration(0.0, 100.0)], times=np.array([4.0, 9.0]), occasions=(0.0, 5.0))
    np.testing.assert_allclose(values, [10.0 * np.exp(-0.4), 5.0 * np.exp(-0.5 - 2.0)], rtol=1e-13)
    np.testing.assert_allclose(by[1, :, 0], [-5.0 * values[1], -4.0 * values[1]], rtol=1e-12)
    np.testing.assert_allclose(by[1, :, 1], [0.0, -values[1] / 20.0], rtol=1e-12, atol=0.0)
    np.testing.assert_array_equal(by[0, 1], 0.0)


def test_the_fast_step_of_one_compartment_is_the_general_one():
    from icans.population.nlme.compartment_kernels import directions, eigen
    from icans.population.nlme.compartment_kernels import general_step as general
    from icans.population.nlme.compartment_one import step_one

    rng = np.random.default_rng(1)
    for ka, k, dt in ((1.5, 0.09, 0.7), (0.2, 0.2, 3.0), (0.2, 0.2000001, 0.4), (0.0, 0.3, 9.0), (5.0, 0.01, 60.0)):
        lam, left, right = np.zeros((1, 4)), np.zeros((1, 3, 3)), np.zeros((1, 3, 3))
        u, v = np.zeros((1, 5, 3)), np.zeros((1, 5, 3))
        rates = np.zeros((1, 10))
        rates[0, 0], rates[0, 5], lam[0, 0] = k, ka, ka
        eigen(0, 1, rates, lam, left, right)
        directions(0, 1, left, right, u, v)
        z, r, dr = rng.uniform(1, 2, 4), rng.uniform(1, 2, 4), np.zeros((1, 9, 4))
        T = rng.normal(size=(1, 9, 4))
        dr[0, 6:] = rng.normal(size=(3, 4))
        dr[0, 7] = 0.0
        acts = np.array([0, 5, 6, 7, 8])
        z2, T2 = z.copy(), T.copy()
        general(dt, 0, 1, True, True, acts, True, lam, left, u, v, z, T, r, dr, np.zeros((8, 4)))
        step_one(dt, 0, True, True, acts, True, ka, k, z2, T2, r, dr)
        np.testing.assert_allclose(z2[:2], z[:2], rtol=1e-12)
        np.testing.assert_allclose(T2[0, acts, :2], T[0, acts, :2], rtol=1e-10, atol=1e-12)


def test_an_impossible_set_is_nan_and_the_others_go_on():
    model = compartment_model(1, "zero", lag=True)
    good = [3.0, 15.0, 0.5, 2.0]
    bad = [[-3.0, 15.0, 0.5, 2.0], [3.0, 0.0, 0.5, 2.0], [3.0, 15.0, -0.5, 2.0], [3.0, 15.0, 0.5, 0.0],
           [np.nan, 15.0, 0.5, 2.0], [3.0, 15.0, np.inf, 2.0]]  # fmt: skip
    psi = np.array([good, *bad, good])[:, None]
    subject = Subject("synthetic", pd.DataFrame(), (Administration(0.0, 10.0),))
    solver = model.bind([subject], TIMES[None], np.zeros((1, len(TIMES)), dtype=int))
    values, by = solver.derivatives(psi, np.zeros(len(psi), dtype=int))
    assert np.isfinite(values[[0, -1]]).all()
    assert np.isfinite(by[[0, -1]]).all()
    assert np.isnan(values[1:-1]).all()
    assert np.isnan(by[1:-1]).all()
    np.testing.assert_array_equal(values[0], values[-1])


def test_a_steady_state_with_longer_infusions_than_its_interval_is_nan():
    model = compartment_model(1, "zero")
    values, by = course(model, [3.0, 15.0, 13.0], [Administration(0.0, 10.0, interval_h=12.0)])
    assert np.isnan(values[1:]).all()
    assert np.isnan(by).all()


def test_doses_that_cannot_be_are_told_together():
    doses = (
        Administration(0.0, -1.0), Administration(np.nan, 1.0), Administration(0.0, 1.0, "depot"),
        Administration(0.0, 1.0, duration_h=-2.0), Administration(0.0, 1.0, duration_h=9.0, interval_h=8.0),
        Administration(0.0, 1.0, interval_h=np.inf), "100 mg",
    )  # fmt: skip
    subject = Subject("7", pd.DataFrame(), doses)
    with pytest.raises(ModelError) as error:
        compartment_model(1).bind([subject], TIMES[None], np.zeros((1, len(TIMES)), dtype=int))
    told = {(p.column, p.file.split(",")[0]) for p in error.value.problems}
    columns = {"amount", "time_h", "compartment", "duration_h", "interval_h", "doses"}
    assert {c for c, _ in told} == columns
    assert {f for _, f in told} == {"subject 7"}
    assert len(error.value.problems) == 7


def test_models_that_cannot_be_are_told_together():
    with pytest.raises(ModelError) as error:
        compartment_model(4, "second", parameterisation="halves", scale=0.0)
    assert [p.column for p in error.value.problems] == ["compartments", "absorption", "parameterisation", "scale"]
    with pytest.raises(ModelError) as error:
        compartment_model(1, names={"Q": "q", "CL": "V"})
    assert [p.value for p in error.value.problems] == ["Q", "V, V"]
