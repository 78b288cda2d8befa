"""Forecasts, outcomes and the worth of measuring, against closed forms and counting."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from icans.core.errors import ModelError
from icans.population.nlme.model import Individual, nlme_model
from icans.population.nlme.observed import Observation, Outcome
from icans.population.nlme.population import start
from icans.population.nlme.records import Administration, Subject, make_records
from icans.population.posterior.courses import forecast_courses
from icans.population.posterior.individual import individual_posterior
from icans.population.posterior.outcomes import chances, drawn_path, event_probability, grade_probability
from icans.population.posterior.teaching import Aim, Candidate, worth_of_measuring
from posterior_cases import ERROR, Decay, as_fit, decays, line_posterior, lines

TIMES = np.array([4.0, 6.0, 9.0])


@pytest.mark.parametrize("residual", [False, True])
def test_bands_of_a_line_are_those_of_the_closed_form(residual):
    fit, records = lines(3)
    got = individual_posterior(fit, records, 3.0, seed=1)
    courses = forecast_courses(fit, got, records, TIMES, seed=2, names=["y", "double"], residual=residual)
    x = np.stack([np.ones(3), TIMES], axis=1)
    for i, s in enumerate(records.subjects):
        b, covariance, _ = line_posterior(s, 3.0)
        mean, var = x @ (b + np.array([1.0, 0.5])), np.diag(x @ covariance @ x.T)
        sd = np.sqrt(var + ERROR**2) if residual else np.sqrt(var)
        bands = courses.quantiles((0.05, 0.5, 0.95))[i]
        np.testing.assert_allclose(
            bands[:, :, 0], stats.norm.ppf([[0.05], [0.5], [0.95]], mean, sd), atol=0.25 * sd.max()
        )
        np.testing.assert_allclose(bands[1, :, 1], 2.0 * mean, atol=0.15 * sd.max())
    table = courses.table()
    assert list(table.columns) == ["id", "name", "time_h", "mean", "q05", "q25", "q50", "q75", "q95"]
    row = table[(table["id"] == records.ids[1]) & (table["name"] == "double") & (table["time_h"] == 6.0)].iloc[0]
    assert row["q50"] == courses.quantiles((0.5,))[1, 0, 1, 1]


class Dosed:
    """Amount ``a`` of all doses so far, each decaying at ``k``."""

    parameters = ("a", "k")
    outputs = ("y",)

    def bind(self, subjects, time_h, output):
        doses = [[(d.time_h, d.amount) for d in s.doses] for s in subjects]

        class Solver:
            def values(self, psi, who):
                out = np.zeros((len(who), time_h.shape[1]))
                for m, i in enumerate(who):
                    for start_h, amount in doses[i]:
                        t = np.nan_to_num(time_h[i]) - start_h
                        out[m] += np.where(t > 0, amount * psi[m, 0, 0] * np.exp(-psi[m, 0, 1] * np.maximum(t, 0)), 0.0)
                return out

            def derivatives(self, psi, who):
                by = np.zeros((len(who), time_h.shape[1], 1, 2))
                for j in range(2):
                    step = np.zeros_like(psi)
                    step[:, :, j] = 1e-6
                    by[:, :, 0, j] = (self.values(psi + step, who) - self.values(psi - step, who)) / 2e-6
                return self.values(psi, who), by

        return Solver()


def test_forecasts_follow_the_plan_and_not_the_doses_of_the_future():
    model = nlme_model(Dosed(), [Individual("a", 1.0, iiv=0.2), Individual("k", 0.1, iiv=0.2)],
                       [Observation("conc", "y", "additive", 0.1)])  # fmt: skip
    table = pd.DataFrame({"time_h": [1.0, 5.0], "observable": "conc", "value": [4.4, 3.1]})
    first, second = Administration(0.0, 5.0), Administration(8.0, 100.0)
    records = make_records([Subject("p", table, (first, second))])
    fit = as_fit(model, start(model), ("p",))
    got = individual_posterior(fit, records, 6.0, seed=1, draws=128)
    none = forecast_courses(fit, got, records, [10.0], seed=1, residual=False)
    planned = forecast_courses(
        fit, got, records, [10.0], seed=1, residual=False, plans={"p": [Administration(9.0, 5.0)]}
    )
    psi = np.exp(np.log([1.0, 0.1]) + got.draws[0])
    np.testing.assert_allclose(none.values[0, :, 0, 0], 5.0 * psi[:, 0] * np.exp(-10.0 * psi[:, 1]), rtol=1e-12)
    extra = planned.values[0, :, 0, 0] - none.values[0, :, 0, 0]
    np.testing.assert_allclose(extra, 5.0 * psi[:, 0] * np.exp(-psi[:, 1]), rtol=1e-12)
    with pytest.raises(ModelError, match="from the landmark"):
        forecast_courses(fit, got, records, [10.0], seed=1, plans={"p": [Administration(2.0, 5.0)], "z": []})


def outcome_fit():
    model = nlme_model(
        Decay(), [Individual("a", 4.0, iiv=0.3), Individual("k", 0.02, iiv=0.3)],
        [Observation("conc", "y", "lognormal", 0.2), Outcome("grade", "y", "ordinal", (1.0, 2.5), 0.6, memory=0.7),
         Outcome("sick", "y", "event", (-4.0,), 0.0, step_h=6.0), Outcome("count", "y", "count", (-1.0,), 0.3)],
    )  # fmt: skip
    rows = [(2.0, "conc", 4.0, "none"), (5.0, "grade", 1.0, "none"), (50.0, "sick", 50.0, "right")]
    table = pd.DataFrame(rows, columns=["time_h", "observable", "value", "censor"])
    records = make_records([Subject("p", table)])
    return as_fit(model, start(model), ("p",)), records


def test_grades_with_memory_have_the_probabilities_that_drawn_paths_show():
    fit, _ = outcome_fit()
    what, errors = fit.model.observed[1], np.array([1.0, 2.5, 0.6, 0.7])
    u = np.tile([[4.0, 3.0, 1.0]], (40000, 1))
    drawn = drawn_path(what, errors, u, 1.0, np.random.default_rng(3))
    found = np.stack([(drawn == g).mean(axis=0) for g in range(3)], axis=1)
    np.testing.assert_allclose(chances(what, errors, u[:1], 1.0)[0], found, atol=0.01)


def test_probabilities_of_grades_and_events():
    fit, records = outcome_fit()
    got = individual_posterior(fit, records, 10.0, seed=1, draws=256)
    grades = grade_probability(fit, got, records, "grade", [12.0, 24.0])
    assert grades.shape == (1, 256, 2, 2)
    u = 4.0 * np.exp(got.draws[0, :, 0]) * np.exp(-0.02 * np.exp(got.draws[0, :, 1]) * 12.0)
    linear = 0.6 * u + 0.7 * 1.0  # the last known grade is 1
    np.testing.assert_allclose(grades[0, :, 0, 0], 1 / (1 + np.exp(1.0 - linear)), rtol=1e-10)
    events = event_probability(fit, got, records, "sick", [5.0, 10.0, 20.0, 34.0])
    np.testing.assert_allclose(events[0, 0], -np.expm1(-np.exp(-4.0) * np.array([0.0, 0.0, 10.0, 24.0])), rtol=1e-10)
    courses = forecast_courses(fit, got, records, [12.0, 24.0], seed=4)
    assert courses.names == ("conc", "grade", "count")
    mean = forecast_courses(fit, got, records, [12.0, 24.0], seed=4, residual=False)
    assert set(np.unique(courses.values[..., 1])) <= {0.0, 1.0, 2.0}
    np.testing.assert_allclose(mean.values[0, :, :, 1], grades[0].sum(axis=-1), rtol=1e-10)
    with pytest.raises(ModelError, match="event_probability"):
        forecast_courses(fit, got, records, [12.0], seed=4, names=["sick"])
    with pytest.raises(ModelError, match="There are: grade"):
        grade_probability(fit, got, records, "sick", [12.0])


def test_draws_that_cannot_be_solved_later_are_replaced():
    class Late(Decay):
        def bind(self, subjects, time_h, output):
            inner = super().bind(subjects, time_h, output)
            far = np.nanmax(np.nan_to_num(time_h)) > 50.0

            class Solver:
                derivatives = inner.derivatives

                def values(self, psi, who):
                    bad = far & (psi[:, 0, 1:2] > 0.25)
                    return np.where(bad, np.nan, inner.values(psi, who))

            return Solver()

    fit, records, _ = decays(1)
    fit = replace(fit, model=replace(fit.model, structural=Late()))
    got = individual_posterior(fit, records, np.inf, seed=1, draws=256)
    courses = forecast_courses(fit, got, records, [60.0], seed=1, residual=False)
    k = 0.2 * np.exp(got.draws[0, :, 1])
    assert (k > 0.25).any()
    assert np.isfinite(courses.values).all()


def test_worth_of_measuring_a_line_is_that_of_the_closed_form():
    fit, records = lines(2)
    got = individual_posterior(fit, records, 3.0, seed=1)
    candidates = [Candidate(t, "y") for t in (4.0, 6.0, 8.0)]
    aim = Aim("y", (10.0,), log=False)
    table = worth_of_measuring(fit, got, records, candidates, seed=2, aim=aim, outer=128)
    for i, s in enumerate(records.subjects):
        _, covariance, _ = line_posterior(s, 3.0)
        goal = np.array([1.0, 10.0])
        for t in (4.0, 6.0, 8.0):
            row = table[(table["id"] == records.ids[i]) & (table["time_h"] == t)].iloc[0]
            x = np.array([1.0, t])
            var = x @ covariance @ x
            information = 0.5 * np.log1p(var / ERROR**2)
            reduction = (x @ covariance @ goal) ** 2 / (var + ERROR**2) / (goal @ covariance @ goal)
            assert row["information_linear"] == pytest.approx(information, rel=0.05)
            assert row["information"] == pytest.approx(information, abs=0.12)
            assert row["reduction_linear"] == pytest.approx(reduction, abs=0.04)
            assert row["reduction"] == pytest.approx(reduction, abs=0.05)
            assert row["aim_sd"] == pytest.approx(np.sqrt(goal @ covariance @ goal), rel=0.05)
    first = table.groupby("id", sort=False).first()
    assert (first["time_h"] == 8.0).all()


def test_a_limit_of_quantification_lowers_what_a_measurement_teaches():
    fit, records, _ = decays(4)
    got = individual_posterior(fit, records, 2.0, seed=1)
    fine, coarse = (
        worth_of_measuring(fit, got, records, [Candidate(30.0, "conc", limit)], seed=3).set_index("id")
        for limit in (np.nan, 2.0)
    )  # fmt: skip
    assert (coarse["information"] < 0.8 * fine["information"]).all()
    np.testing.assert_allclose(fine["information"], fine["information_linear"], rtol=0.35)


def test_grades_teach_and_can_be_aimed_at():
    fit, records = outcome_fit()
    got = individual_posterior(fit, records, 10.0, seed=1)
    candidates, aim = [Candidate(24.0, "grade"), Candidate(24.0, "conc")], Aim("grade", (24.0, 48.0), grade=2)
    table = worth_of_measuring(fit, got, records, candidates, seed=3, aim=aim).set_index("observable")
    assert 0.0 < table.loc["grade", "information"] < table.loc["conc", "information"]
    assert table.loc["grade", "information"] == pytest.approx(table.loc["grade", "information_linear"], rel=0.3)
    assert 0.0 < table.loc["grade", "reduction"] < table.loc["conc", "reduction"] < 1.0
    with pytest.raises(ModelError) as caught:
        worth_of_measuring(fit, got, records, [Candidate(3.0, "nothing")], seed=3, aim=Aim("grade", (24.0,), grade=9))
    assert all(w in str(caught.value) for w in ("nothing", "It is past", "Mend the aim"))
