"""Bootstrap, SIR, profiles and multi-start, on models whose answers are known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from icans.core.errors import ModelError, NotEstimableError
from icans.population.fit.bootstrap import bootstrap, draw
from icans.population.fit.focei import FoceiSettings, fit_focei, objective_of
from icans.population.fit.multistart import multi_start
from icans.population.fit.profiles import natural_place, profiles
from icans.population.fit.sandwich import standard_errors
from icans.population.fit.sir import sir
from icans.population.nlme.model import Individual, nlme_model
from icans.population.nlme.observed import Observation
from icans.population.nlme.records import Subject, make_records
from icans.population.nlme.scales import Scale


class Level:
    """``y = a``: with one value a subject, a normal sample; with several, one-way random effects."""

    parameters = ("a",)
    outputs = ("y",)

    def bind(self, subjects, time_h, output):
        return LevelSolver(time_h.shape[1])


class LevelSolver:
    def __init__(self, width):
        self.width = width

    def values(self, psi, who):
        return np.repeat(psi[:, 0, :], self.width, axis=1)

    def derivatives(self, psi, who):
        return self.values(psi, who), np.ones((len(psi), self.width, 1, 1))


def levels(subjects=40, each=4, seed=1):
    """Balanced one-way random effects (synthetic): mean 10, SD between 2, within 1."""
    rng = np.random.default_rng(seed)
    y = 10.0 + 2.0 * rng.standard_normal((subjects, 1)) + rng.standard_normal((subjects, each))
    people = [
        Subject(str(i), pd.DataFrame({"time_h": np.arange(each), "observable": "y", "value": row}), (), {"arm": i % 2})
        for i, row in enumerate(y)
    ]
    model = nlme_model(
        Level(), [Individual("a", 8.0, Scale("normal"), iiv=1.0)], [Observation("y", "y", "additive", 2.0)]
    )
    return model, make_records(people), y


@pytest.fixture(scope="module")
def fitted():
    model, records, y = levels()
    return fit_focei(model, records, settings=FoceiSettings(covariance="R", tolerance=1e-9)), records, y


def test_the_fit_is_the_textbook_one_way_estimate(fitted):
    fit, _, y = fitted
    n, each = y.shape
    within = ((y - y.mean(axis=1, keepdims=True)) ** 2).sum() / (n * (each - 1))
    between = ((y.mean(axis=1) - y.mean()) ** 2).sum() / n - within / each
    assert fit.population.typical[0] == pytest.approx(y.mean(), abs=1e-4)
    assert fit.population.errors[0] == pytest.approx(np.sqrt(within), rel=1e-4)
    assert fit.population.omega[0, 0] == pytest.approx(between, rel=1e-4)
    # The information of a normal sample: se of the mean, of ln SD within and of the log variance of means.
    se = np.sqrt(np.diag(fit.covariance))
    assert se[0] == pytest.approx(np.sqrt((between + within / each) / n), rel=1e-3)
    assert se[2] == pytest.approx(np.sqrt(1.0 / (2.0 * n * (each - 1))), rel=1e-3)


def test_s_is_r_where_the_model_is_true():
    model, records, _ = levels(subjects=500, seed=3)
    fit = fit_focei(model, records, settings=FoceiSettings(covariance="none", tolerance=1e-9))
    objective = objective_of(model, records)
    errors = standard_errors(objective, objective.point(fit.vector))
    ratio = np.sqrt(np.diag(errors.pick("S")) / np.diag(errors.pick("R")))
    np.testing.assert_allclose(ratio, 1.0, atol=0.15)
    np.testing.assert_allclose(np.abs(errors.scores.sum(axis=0)), 0.0, atol=1e-3)


def test_bootstrap_is_reproducible_resumable_and_right(fitted, tmp_path):
    fit, records, y = fitted
    first = bootstrap(fit, records, replicates=40, seed=5, folder=tmp_path)
    assert len(list(tmp_path.glob("*.pickle"))) == 40
    again = bootstrap(fit, records, replicates=40, seed=5, folder=tmp_path)
    np.testing.assert_array_equal(first.vectors, again.vectors)
    fresh = bootstrap(fit, records, replicates=3, seed=5)
    np.testing.assert_allclose(fresh.vectors, first.vectors[:3])
    # The mean's standard error is that of a mean of 40 independent means; of 40 replicates it is known to 12 %.
    table = first.table().set_index("name")
    assert table.loc["a", "se"] == pytest.approx(y.mean(axis=1).std() / np.sqrt(40), rel=0.35)
    assert table.loc["a", "low"] < fit.population.typical[0] < table.loc["a", "high"]
    assert first.applied().covariance_method == "bootstrap"
    assert first.applied().table()["se"].notna().all()


def test_strata_keep_their_sizes(fitted):
    _, records, _ = fitted
    arm = records.covariate("arm")
    drawn = draw(records, 1, 0, "arm")
    assert sorted(arm[drawn]) == sorted(arm)
    assert drawn != list(range(len(records)))
    with pytest.raises(ModelError, match="weight"):
        bootstrap(None, records, replicates=5, seed=1, strata="weight")


def test_a_replicate_that_fails_is_reported(fitted):
    fit, records, _ = fitted

    def sometimes(model, drawn, begin):
        if len({s.id for s in drawn.subjects}) % 2:
            raise NotEstimableError("odd")
        return fit

    got = bootstrap(fit, records, replicates=12, seed=2, estimator=sometimes)
    assert 0 < len(got.failed()) < 12
    assert set(got.failed()["why"]) == {"odd"}
    assert len(got.estimates()) == 12 - len(got.failed())

    def never(model, drawn, begin):
        raise NotEstimableError("never")

    with pytest.raises(NotEstimableError, match="never"):
        bootstrap(fit, records, replicates=2, seed=2, estimator=never)


def test_sir_finds_the_likelihood_from_a_wrong_proposal(fitted):
    fit, records, _ = fitted
    wrong = fit.covariance * np.array([[4.0, 2.0, 2.0]]) ** 0.5 * np.array([[4.0], [2.0], [2.0]]) ** 0.5
    got = sir(fit, records, seed=1, covariance=wrong, drawn=(400, 500, 600), kept=(150, 200, 250))
    np.testing.assert_allclose(np.sqrt(np.diag(got.covariance)), np.sqrt(np.diag(fit.covariance)), rtol=0.2)
    assert got.iterations["df_kept"].iloc[-1] == pytest.approx(3.0, abs=0.7)
    assert list(got.table()["name"]) == list(fit.table()["name"])
    narrow = sir(fit, records, seed=1, covariance=fit.covariance / 16.0, drawn=(300,), kept=(100,))
    assert any("narrower" in m for m in narrow.messages)


def test_sir_refuses_what_it_cannot_do(fitted):
    fit, records, _ = fitted
    with pytest.raises(NotEstimableError, match="covariance"):
        sir(fit.with_covariance(None, ""), records, seed=1)
    with pytest.raises(ModelError, match="resamples"):
        sir(fit, records, seed=1, drawn=(10,), kept=(20,))


def test_profile_limits_are_those_of_the_likelihood_ratio(fitted):
    fit, records, y = fitted
    got = profiles(fit, records)
    limits = got.limits.set_index("name")
    assert got.better is None
    # Balanced one-way: the profile of the mean is n ln(1 + n (mean - m)^2 / SS of means) while within is unchanged.
    n, means = len(y), y.mean(axis=1)
    ss = ((means - means.mean()) ** 2).sum()
    half = np.sqrt(ss * np.expm1(stats.chi2.ppf(0.95, 1) / n) / n)
    assert limits.loc["a", "low"] == pytest.approx(means.mean() - half, abs=2e-3)
    assert limits.loc["a", "high"] == pytest.approx(means.mean() + half, abs=2e-3)
    # The profile of the SD within, given by its chi-square likelihood alone (between adapts).
    sd, m = fit.population.errors[0], n * (y.shape[1] - 1)
    low = limits.loc["y a", "low"]
    assert m * (sd**2 / low**2 - 1.0) - m * np.log(sd**2 / low**2) == pytest.approx(stats.chi2.ppf(0.95, 1), abs=0.05)
    assert (got.course["rise"] > -0.01).all()


def test_a_parameter_without_a_limit_is_told():
    model, records, _ = levels(subjects=6, each=3, seed=4)
    rng = np.random.default_rng(0)
    tables = [s.observations.assign(value=10.0 + rng.standard_normal(3)) for s in records.subjects]
    records = make_records([replace(s, observations=t) for s, t in zip(records.subjects, tables, strict=True)])
    fit = fit_focei(model, records, settings=FoceiSettings(covariance="none"))
    got = profiles(fit, records, ["chol eta a:a"])
    row = got.limits.iloc[0]
    assert not row["low_found"]
    assert row["high_found"]
    assert any("no limit below" in m for m in got.messages)
    with pytest.raises(ModelError, match="chol eta a:a"):
        profiles(fit, records, ["b"])


def test_natural_places_of_the_packed_vector(fitted):
    fit, _, _ = fitted
    from icans.population.nlme.population import packing

    pack = packing(fit.model, fit.population)
    got = [natural_place(pack, j, float(v))[0] for j, v in enumerate(fit.vector)]
    np.testing.assert_allclose(got, fit.table()["value"])


def test_starts_agree_where_there_is_one_optimum():
    model, records, _ = levels(subjects=15)
    got = multi_start(model, records, starts=4, spread=0.5, seed=3)
    assert (got.starts["optimum"] == 1).all()
    assert got.best.covariance is not None
    assert "4 of 4" in got.messages[0]
    assert len(got.optima) == 1
    with pytest.raises(ModelError, match="starts"):
        multi_start(model, records, starts=0, seed=1)
