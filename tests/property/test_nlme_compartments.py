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
    np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10 * max(scale, 1e-30))


@given(cases())
@settings(max_examples=150)
def test_values_and_derivatives_are_those_of_matrix_exponentials(case):
    model, psi, subject, times, outputs = case
    values, by = solved(*case)
    expected = oracle(model, psi, subject, times, outputs).real
    close(values, expected, np.abs(expected).max())
    by_expected = derivatives(model, psi, subject, times, outputs)
    scale = np.abs(by_expected * psi).max()
    close(by * psi, by_expected * psi, max(scale, np.abs(expected).max()))
