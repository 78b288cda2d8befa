"""Structural models of formulas, and the convolutions of exponentials against many digits."""

from __future__ import annotations

import mpmath
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nlme_cases
from icans.core.errors import ModelError
from icans.population.nlme.convolutions import conv2, conv3, conv4
from icans.population.nlme.formulas import formula_model
from icans.population.nlme.likelihood import bind, local, means, phi_of
from icans.population.nlme.model import Individual, nlme_model
from icans.population.nlme.observed import Observation
from icans.population.nlme.population import start
from icans.population.nlme.records import Records, Subject, make_records

TIMES = np.array([[0.0, 1.0, 5.0, 9.0, np.nan]])
WHERE = np.array([[0, 1, 0, 0, -1]])


def test_values_derivatives_and_occasions():
    model = formula_model(["a", "k"], {"y": "a * exp(-k * t) * dose", "z": "hill(a, k, 1.5) + a**2"})
    assert model.covariates == ("dose",)
    subject = Subject("1", pd.DataFrame(), (), {"dose": 3.0}, (0.0, 5.0))
    solver = model.bind([subject], TIMES, WHERE)
    values, by = solver.derivatives(np.array([[[2.0, 0.1], [4.0, 0.2]]]), np.array([0]))
    hill = 2.0**1.5 / (2.0**1.5 + 0.1**1.5)
    expected = [6.0, hill + 4.0, 6.0 * np.exp(-0.5), 12.0 * np.exp(-1.8), np.nan]
    np.testing.assert_allclose(values[0], expected, rtol=1e-14)
    np.testing.assert_allclose(by[0, 3], [[0.0, 0.0], [values[0, 3] / 4.0, -9.0 * values[0, 3]]], rtol=1e-13)
    np.testing.assert_allclose(by[0, 2, 0], [values[0, 2] / 2.0, -5.0 * values[0, 2]], rtol=1e-13)
    np.testing.assert_allclose(by[0, 1, 0, 0], 1.5 / 2.0 * hill * (1.0 - hill) + 4.0, rtol=1e-13)
    np.testing.assert_array_equal(solver.values(np.array([[[2.0, 0.1], [4.0, 0.2]]]), np.array([0])), values)


def test_wang_as_a_formula_is_wang_as_a_bolus(data_folder):
    bolus, records = nlme_cases.wang2007(data_folder)
    model = nlme_model(
        formula_model(["ke"], {"central": "10 * exp(-ke * t)"}), [Individual("ke", 0.5, iiv=0.2)],
        [Observation("y", "central", "proportional", b=0.316)],
    )  # fmt: skip
    plain = Records(tuple(Subject(s.id, s.observations) for s in records.subjects))
    got = []
    for one, data in ((model, plain), (bolus, records)):
        bound = bind(one, data)
        b = 0.1 * np.arange(len(bound), dtype=float)[:, None]
        got.append(local(bound, start(one), phi_of(bound, means(bound, start(one)), b), bound.everyone))
    np.testing.assert_allclose(got[0].logp, got[1].logp, rtol=1e-7)
    np.testing.assert_allclose(got[0].score[..., 0], got[1].score[..., 0], rtol=1e-6)


def test_what_cannot_be_is_told():
    with pytest.raises(ModelError, match="language"):
        formula_model(["a"], {"y": "__import__('os')"})
    with pytest.raises(ModelError) as error:
        formula_model(["a", "b", "t"], {"y": "a * t"})
    assert len(error.value.problems) == 2
    table = pd.DataFrame({"time_h": [1.0], "observable": ["y"], "value": [1.0]})
    subjects = make_records([Subject("1", table), Subject("2", table, ("dose",), {"w": 1.0})]).subjects
    with pytest.raises(ModelError) as error:
        formula_model(["a"], {"y": "a * w"}).bind(subjects, TIMES, WHERE)
    assert [(p.file, p.column) for p in error.value.problems] == [("subject 1", "w"), ("subject 2", "doses")]


rate = st.floats(0.0, 20.0)
#: Close together in every way that matters, or anywhere.
near = st.sampled_from((0.0, 1e-16, 1e-9, 1e-4, 1e-2, 0.29, 0.31, 0.49, 0.51, 0.99, 1.01, 3.0))


def reference(rates, t):
    """Divided difference of exp(-x t) by integrals of partial fractions with 200 digits."""
    with mpmath.workdps(200):
        tiny = mpmath.mpf(10) ** -40
        x = [mpmath.mpf(r) + tiny * (k + 1) for k, r in enumerate(rates)]
        total = mpmath.mpf(0)
        for i, a in enumerate(x):
            below = mpmath.mpf(1)
            for j, b in enumerate(x):
                below *= (b - a) if i != j else 1
            total += mpmath.exp(-a * t) / below
        return float(total)


@given(rate, near, near, near, st.floats(0.01, 30.0))
def test_convolutions_of_exponentials_to_thirteen_digits(a, one, two, three, t):
    rates = [a, a + one / t, a + two / t, a + three / t]
    e = [float(np.exp(-r * t)) for r in rates]
    for order in (rates, rates[::-1]):
        f = e if order is rates else e[::-1]
        for got, many in (
            (conv2(*order[:2], *f[:2], t), 2), (conv3(*order[:3], *f[:3], t), 3), (conv4(*order, *f, t), 4),
        ):  # fmt: skip
            # exp(-a t) itself is known to a t times rounding
            assert got == pytest.approx(reference(order[:many], t), rel=2e-13 * (1.0 + a * t), abs=1e-300)
