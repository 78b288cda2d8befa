"""Closed forms of linear compartments against matrix exponentials, for random models, parameters, doses and times."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from compartment_oracle import derivatives, oracle
from icans.population.nlme.compartments import CANONICAL, COMPARTMENTS, compartment_model
from icans.population.nlme.records import Administration, Subject

#: Ranges of parameters (log-uniform); long steady states still converge within the oracle's sums.
LOW = {"CL": 1.0, "k": 0.05, "V": 5.0, "ka": 0.05, "F": 0.1, "Tlag": 0.01, "D": 0.3}
HIGH = {"CL": 20.0, "k": 2.0, "V": 50.0, "ka": 4.0, "F": 1.0, "Tlag": 3.9, "D": 3.9}


@st.composite
def models(draw):
    return compartment_model(
        draw(st.integers(1, 3)), draw(st.sampled_from(("none", "first", "zero", "zero-first"))),
        parameterisation=draw(st.sampled_from(tuple(CANONICAL))), lag=draw(st.booleans()),
        bioavailability=draw(st.booleans()), scale=draw(st.sampled_from((1.0, 1000.0))),
    )  # fmt: skip


@st.composite
def cases(draw):
    """A model, psi (O, P), a subject, times, outputs."""
    model = draw(models())
    occasions = draw(st.integers(1, 3))
    psi = np.empty((occasions, len(model.parameters)))
    for j, name in enumerate(model.canonical):
        low, high = LOW.get(name, 0.3), HIGH.get(name, 10.0 if model.parameterisation == "clearances" else 2.0)
        for o in range(occasions):
            psi[o, j] = np.exp(draw(st.floats(np.log(low), np.log(high))))
    known = ["", *[c for c, there in zip(COMPARTMENTS, model._compartments, strict=True) if there]]
    doses = []
    for _ in range(draw(st.integers(0, 4))):
        doses.append(
            Administration(
                draw(st.integers(0, 40)) / 2.0, draw(st.sampled_from((10.0, 100.0, 55.5))),
                draw(st.sampled_from(known)), draw(st.sampled_from((0.0, 0.0, 0.5, 3.0))),
                draw(st.sampled_from((0.0, 0.0, 0.0, 4.0, 12.0))), draw(st.booleans()) and draw(st.booleans()),
            )
        )  # fmt: skip
    starts = sorted({draw(st.integers(1, 50)) / 2.0 for _ in range(occasions - 1)})
    psi = psi[: len(starts) + 1]
    times = np.array(draw(st.lists(st.integers(0, 120), min_size=1, max_size=8))) / 4.0
    outputs = [draw(st.sampled_from(model.outputs)) for _ in times]
    subject = Subject("synthetic", pd.DataFrame(), tuple(doses), {}, (0.0, *starts))
    return model, psi, subject, times, outputs


def solved(model, psi, subject, times, outputs):
    where = np.array([[model.outputs.index(o) for o in outputs]])
    solver = model.bind([subject], times[None], where)
    values, by = solver.derivatives(psi[None], np.array([0]))
    only = solver.values(psi[None], np.array([0]))
    np.testing.assert_allclose(only, values, rtol=1e-13, atol=0.0)
    return values[0], by[0]


def close(ours, theirs, scale):
    """Relative to the largest value: differences of amounts cancel in places."""
    np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10 * max(scale, 1e-2))


@given(cases())
@settings(max_examples=40)
def test_values_and_derivatives_are_those_of_matrix_exponentials(case):
    model, psi, subject, times, outputs = case
    values, by = solved(*case)
    expected = oracle(model, psi, subject, times, outputs).real
    close(values, expected, np.abs(expected).max())
    by_expected = derivatives(model, psi, subject, times, outputs)
    scale = np.abs(by_expected * psi).max()
    close(by * psi, by_expected * psi, max(scale, np.abs(expected).max()))


@given(cases(), st.randoms(use_true_random=False))
@settings(max_examples=25)
def test_the_order_of_requests_and_of_subjects_does_not_matter(case, random):
    model, psi, subject, times, outputs = case
    where = np.array([model.outputs.index(o) for o in outputs])
    order = list(range(len(times)))
    random.shuffle(order)
    padded = np.append(times[order], np.nan), np.append(where[order], -1)
    plain = np.append(times, np.nan), np.append(where, -1)
    solver = model.bind([subject, subject], np.stack([plain[0], padded[0]]), np.stack([plain[1], padded[1]]))
    values, by = solver.derivatives(np.stack([psi, psi, psi]), np.array([1, 0, 1]))
    np.testing.assert_array_equal(values[0, :-1], values[1, :-1][order])
    np.testing.assert_array_equal(by[0, :-1], by[1, :-1][order])
    np.testing.assert_array_equal(values[0], values[2])
    assert np.isnan(values[:, -1]).all()


@given(st.integers(1, 3), st.lists(st.floats(0.05, 5.0), min_size=8, max_size=8), st.floats(0.1, 24.0))
@settings(max_examples=25)
def test_doses_superpose_and_amounts_are_linear_in_dose(n, raw, later):
    model = compartment_model(n, "first")
    psi = np.array(raw[: len(model.parameters)])[None, None]
    times = np.linspace(0.1, 60.0, 9)[None]
    zero = np.zeros(times.shape, dtype=int)

    def course(*doses):
        return model.bind([Subject("synthetic", pd.DataFrame(), doses)], times, zero).values(psi, np.array([0]))

    one, two = Administration(0.0, 10.0), Administration(later, 25.0, "central", 3.0)
    both = course(one, two)
    np.testing.assert_allclose(both, course(one) + course(two), rtol=1e-12, atol=1e-12 * both.max())
    tripled = course(Administration(0.0, 30.0))
    np.testing.assert_allclose(tripled, 3.0 * course(one), rtol=1e-12, atol=1e-15 * tripled.max())
