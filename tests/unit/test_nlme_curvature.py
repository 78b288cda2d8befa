"""Curvatures that are not positive: log determinants with exact derivatives, and fits whose starts they spoilt."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from icans.population.fit.curvature import BLUNT, raised
from icans.population.fit.focei import Accuracy, FoceiSettings, fit_focei, fit_laplace, objective_of
from icans.population.fit.modes import upright
from icans.population.nlme.likelihood import bind
from icans.population.nlme.model import Individual, nlme_model
from icans.population.nlme.observed import Observation
from icans.population.nlme.population import start
from icans.population.nlme.records import Subject, make_records
from icans.population.nlme.simulating import simulated_records


def symmetric(rng, n, d):
    x = rng.standard_normal((n, d, d))
    return x + np.swapaxes(x, 1, 2)


def test_log_determinants_are_exact_where_positive_and_bounded_where_not_with_exact_derivatives():
    rng = np.random.default_rng(1)
    a, g, turn, move = (symmetric(rng, 30, 3) for _ in range(4))
    g = g @ g + np.eye(3)
    a[:10] = a[:10] @ a[:10] + g[:10]  # more than the reference
    got = raised(a, g)
    assert not got.blunt[:10].any()
    assert got.blunt[10:].sum() > 15
    np.testing.assert_allclose(got.log_det[:10], np.linalg.slogdet(a[:10])[1])
    np.testing.assert_allclose(got.by_matrix[:10], np.linalg.inv(a[:10]))
    assert (got.by_reference[:10] == 0.0).all()
    floor = 3 * np.log(BLUNT / 2) + np.linalg.slogdet(g)[1]
    assert (got.log_det > floor - 1e-9).all()
    assert (raised(a - 1e6 * g, g).log_det > floor - 1e-9).all(), "no reward without end for a wrong curvature"
    h = 1e-6
    up, down = raised(a + h * turn, g + h * move), raised(a - h * turn, g - h * move)
    along = np.einsum("nde,nde->n", got.by_matrix, turn) + np.einsum("nde,nde->n", got.by_reference, move)
    np.testing.assert_allclose((up.log_det - down.log_det) / (2 * h), along, rtol=1e-5, atol=1e-4)
    a[3, 0, 0] = np.nan
    assert np.flatnonzero(~np.isfinite(raised(a, g).log_det)).tolist() == [3]


class Decay:
    """``c exp(-k t)``."""

    parameters = ("c", "k")
    outputs = ("y",)

    def bind(self, subjects, time_h, output):
        class Solver:
            def values(self, psi, who):
                return psi[:, 0, :1] * np.exp(-psi[:, 0, 1:2] * time_h[who])

            def derivatives(self, psi, who):
                y = self.values(psi, who)
                by = np.zeros((*y.shape, 1, 2))
                by[:, :, 0, 0], by[:, :, 0, 1] = y / psi[:, 0, :1], -time_h[who] * y
                return y, by

        return Solver()


def case(observation, subjects=40, floor=1.0):
    model = nlme_model(Decay(), [Individual("c", 10.0, iiv=0.4), Individual("k", 0.2, iiv=0.4)], [observation])
    table = pd.DataFrame({"time_h": [0.5, 1.0, 2.0, 4.0, 8.0, 12.0], "observable": "y", "value": 1.0})
    records = make_records([Subject(f"s{i}", table) for i in range(subjects)])
    drawn = simulated_records(bind(model, records), start(model), 1)
    people = []
    for s in drawn.subjects:
        low = s.observations["value"] < floor
        people.append(replace(s, observations=s.observations.assign(
            value=s.observations["value"].clip(lower=floor), censor=np.where(low, "left", "none")
        )))  # fmt: skip
    return model, make_records(people)


def check_gradient(objective, point):
    assert np.isfinite(point.value)
    step = np.eye(len(point.x)) * 1e-4
    high, low = ([objective.value(point.x + s * h, point.extra) for h in step] for s in (1.0, -1.0))
    numeric = (np.array(high) - low) / 2e-4
    np.testing.assert_allclose(point.gradient, numeric, rtol=1e-4, atol=1e-4 * np.abs(numeric).max())


def test_matrices_of_the_wrong_sign_are_made_upright_and_others_left_alone():
    rng = np.random.default_rng(2)
    prior = np.diag([4.0, 1.0])
    good = np.array([[3.0, 1.0], [1.0, 2.0]])
    bad = np.array([[-3.0, 1.0], [1.0, 2.0]])
    out = upright(np.stack([good, bad]), prior)
    np.testing.assert_array_equal(out[0], good)
    x = rng.standard_normal((100, 2))
    assert (np.einsum("nd,de,ne->n", x, out[1] - prior, x) > -1e-9).all(), "never less than the prior"


@pytest.mark.parametrize("fitter", [fit_laplace, fit_focei])
def test_combined_errors_with_censored_rows_can_be_fitted_from_far_away(fitter):
    model, records = case(Observation("y", "y", "combined", 0.5, 0.3))
    near, plain = start(model), FoceiSettings(covariance="none")
    far = replace(near, typical=near.typical + np.array([0.7, -0.7]))
    method = "laplace" if fitter is fit_laplace else "focei"
    objective = objective_of(model, records, method=method, accuracy=Accuracy(inner=1e-9))
    check_gradient(objective, objective.point(objective.pack.pack(far)))
    one, two = fitter(model, records, begin=near, settings=plain), fitter(model, records, begin=far, settings=plain)
    assert two.objective == pytest.approx(one.objective, abs=0.01)
    assert not any("no proper peak" in m for m in two.messages)


def test_heavy_tails_do_not_draw_the_search_to_singular_curvatures():
    model, records = case(Observation("y", "y", "student", 0.2, df=2.5))
    near = start(model)
    far = replace(near, typical=near.typical + np.array([0.7, -0.7]))
    objective = objective_of(model, records, method="laplace", accuracy=Accuracy(inner=1e-9))
    point = objective.point(objective.pack.pack(far))
    assert point.extra.blunt.any(), "the case has curvatures that are raised"
    check_gradient(objective, point)
    fit = fit_laplace(model, records, begin=far, settings=FoceiSettings(covariance="none"))
    assert not any(m.startswith("Stopped") for m in fit.messages)
    assert fit.vector[:2] == pytest.approx(np.log([10.0, 0.2]), abs=0.25)
