"""Diagnostics of a true model must find nothing, of a wrong one something; closed cases must come out exactly."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from icans.core.errors import ModelError
from icans.population.diagnose import effects as eta
from icans.population.diagnose.npde import npde, npde_tests
from icans.population.diagnose.predictions import predictions
from icans.population.diagnose.vpc import _percentiles, bin_edges, vpc
from icans.population.fit.modes import find_modes
from icans.population.fit.result import Fit
from icans.population.nlme.likelihood import bind
from icans.population.nlme.model import Individual, nlme_model
from icans.population.nlme.observed import Observation, Outcome
from icans.population.nlme.population import start
from icans.population.nlme.records import Subject, make_records
from icans.population.nlme.scales import Scale
from icans.population.nlme.simulating import simulated_records


class Line:
    """``y = level + slope t / 24``."""

    parameters = ("level", "slope")
    outputs = ("y",)

    def bind(self, subjects, time_h, output):
        class Solver:
            def values(self, psi, who):
                return psi[:, 0, :1] + psi[:, 0, 1:2] * time_h[who] / 24.0

            def derivatives(self, psi, who):
                by = np.zeros((len(who), time_h.shape[1], 1, 2))
                by[:, :, 0, 0], by[:, :, 0, 1] = 1.0, time_h[who] / 24.0
                return self.values(psi, who), by

        return Solver()


DAYS = np.array([0.0, 1.0, 2.0, 4.0, 7.0])


def fitted(n=60, seed=1, floor=None, outcomes=(), error="additive"):
    rows = [(24 * d, "y", 5.0, "none") for d in DAYS]
    if floor is not None:
        rows[0] = (0.0, "y", floor, "left")
    rows += [(24 * d, o.name, 1.0, "none") for o in outcomes for d in DAYS if o.kind == "ordinal"]
    rows += [(200.0, o.name, 200.0, "right") for o in outcomes if o.kind == "event"]
    table = pd.DataFrame(rows, columns=["time_h", "observable", "value", "censor"])
    subjects = [Subject(f"s{i}", table, (), {"x": float(i % 7)}) for i in range(n)]
    normal = Scale("normal")
    model = nlme_model(
        Line(), [Individual("level", 5.0, normal, iiv=1.0), Individual("slope", 1.0, normal, iiv=0.3)],
        [Observation("y", "y", error, a=0.7, b=0.2), *outcomes], blocks="full",
    )  # fmt: skip
    population = start(model)
    records = simulated_records(bind(model, make_records(subjects)), population, seed)
    bound = bind(model, records)
    modes = find_modes(bound, population)
    fit = Fit(model, "true values", population, float(modes.log_evidence.sum()), "laplace", records.ids,
              int(bound.n_rows.sum()), modes.effects())  # fmt: skip
    return fit, records


def test_conditional_weighted_residuals_of_a_linear_model_are_exactly_white():
    fit, records = fitted()
    table = predictions(fit, records)
    # For a linear model the linearisation is exact wherever it is made, so that both kinds of residual agree with
    # what the marginal normal density of each subject says.
    np.testing.assert_allclose(table["cwres"], table["wres"], atol=1e-9)
    z = np.stack([np.ones(5), DAYS], axis=1)
    v = z @ fit.population.omega @ z.T + 0.49 * np.eye(5)
    value, vector = np.linalg.eigh(v)
    root = (vector / np.sqrt(value)) @ vector.T
    one = table[table["id"] == records.ids[3]].sort_values("time_h")
    wanted = root @ (one["value"].to_numpy() - (5.0 + DAYS))
    np.testing.assert_allclose(one["cwres"], wanted, atol=1e-9)
    np.testing.assert_allclose(one["pred"], 5.0 + DAYS)
    np.testing.assert_allclose(one["iwres"], one["ires"] / 0.7)


def test_prediction_distribution_errors_are_standard_normal_under_the_truth_also_with_censoring():
    fit, records = fitted(n=150, floor=4.5)
    errors = npde(fit, records, 3, replicates=400)
    assert 0.02 < errors["imputed"].mean() < 0.2
    tests = npde_tests(errors).iloc[0]
    assert tests["p_global"] > 0.01
    assert stats.kstest(errors["npde"], "norm").pvalue > 0.01


def test_prediction_distribution_errors_find_a_wrong_model():
    fit, records = fitted(n=150)
    wrong = replace(fit, population=replace(fit.population, typical=np.array([5.6, 1.0])))
    assert npde_tests(npde(wrong, records, 3, replicates=300)).iloc[0]["p_mean"] < 1e-3
    wide = replace(fit, population=replace(fit.population, omega=4.0 * fit.population.omega))
    assert npde_tests(npde(wide, records, 3, replicates=300)).iloc[0]["p_variance"] < 1e-4


OUTCOMES = (
    Outcome("grade", "y", "ordinal", (6.0, 8.0), 1.0), Outcome("sick", "y", "event", (-7.0,), 0.2, step_h=24.0),
)  # fmt: skip


def test_predictive_checks_of_the_truth_lie_inside_and_of_a_wrong_model_outside():
    fit, records = fitted(n=150, floor=4.5, outcomes=OUTCOMES)
    checks = vpc(fit, records, 5, replicates=200)
    assert set(checks) == {"y", "grade", "sick"}
    assert all(check.inside > 0.75 for check in checks.values())
    assert {"below limit", "p5", "p50", "p95"} == set(checks["y"].table["statistic"])
    assert {"grade >= 1", "grade >= 2"} == set(checks["grade"].table["statistic"])
    wrong = replace(fit, population=replace(fit.population, typical=np.array([7.0, 1.0])))
    assert vpc(wrong, records, 5, replicates=100, corrected=False)["y"].inside < 0.5


def test_prediction_correction_takes_out_what_the_design_explains():
    fit, records = fitted(n=80)
    check = vpc(fit, records, 5, bins=[-np.inf, np.inf], replicates=50)["y"]
    raw = vpc(fit, records, 5, bins=[-np.inf, np.inf], replicates=50, corrected=False)["y"]
    assert check.points["value"].std() < 0.85 * raw.points["value"].std()
    assert check.points["value"].median() == pytest.approx(raw.points["value"].median(), abs=0.5)


def test_percentiles_are_numpys_and_bins_hold_everything():
    fit, records = fitted(n=30)
    check = vpc(fit, records, 5, corrected=False, replicates=20)["y"]
    first = check.table[(check.table["bin"] == 0) & (check.table["statistic"] == "p5")]
    values = records.frame().query("time_h == 0")["value"]
    assert first["observed"].iloc[0] == pytest.approx(np.percentile(values, 5))
    edges = bin_edges(np.random.default_rng(1).exponential(size=500), 6)
    assert len(edges) == 7
    counts = np.histogram(np.random.default_rng(1).exponential(size=500), edges)[0]
    assert counts.min() > 50


def test_survival_of_the_check_is_the_one_of_the_evaluation():
    from icans.evaluate import censoring

    fit, records = fitted(n=60, outcomes=OUTCOMES)
    table = vpc(fit, records, 5, replicates=20)["sick"].table
    own = records.frame().query("observable == 'sick'")
    curve = censoring.kaplan_meier(own["value"], own["censor"] == "none").at(table["time_h"])
    np.testing.assert_allclose(table["observed"], curve)
    assert table["observed"].iloc[-1] < table["observed"].iloc[0] == 1.0


def test_a_share_inside_is_told_beside_that_of_a_right_model():
    fit, records = fitted(n=100)
    check = vpc(fit, records, 5, replicates=200)["y"]
    low, middle, high = check.usual
    assert 0.75 < low <= middle <= high <= 1.0
    assert low <= check.inside
    assert middle > 0.9


def test_weights_equal_to_numbers_of_copies_give_percentiles_of_the_copies():
    rng = np.random.default_rng(3)
    y, times = rng.normal(size=40), rng.integers(1, 4, 40)
    many = np.repeat(y, 500)
    copies = _percentiles(np.repeat(many, np.repeat(times, 500)), np.ones(500 * times.sum()))
    np.testing.assert_allclose(_percentiles(many, np.repeat(times, 500) / 7.0), copies, atol=0.02)
    np.testing.assert_allclose(_percentiles(y, np.full(40, 0.3)), np.percentile(y, [5, 50, 95]))
    beyond = np.sort(y)
    beyond[-4:] = np.inf  # the 95th percentile falls among values beyond a limit
    assert np.isnan(_percentiles(beyond, np.ones(40))).tolist() == [False, False, True]


def test_sampling_the_sicker_more_often_misleads_a_check_by_values_but_not_one_by_subjects():
    fit, records = fitted(n=150, seed=4)
    subjects = []
    for s in records.subjects:
        table = s.observations
        if table["value"].iloc[-1] > 12.0:  # the upper half has six values on day 7
            extra = table.iloc[[-1] * 5].assign(value=table["value"].iloc[-1] + np.linspace(-0.5, 0.5, 5))
            table = pd.concat([table, extra])
        subjects.append(replace(s, observations=table))
    often = make_records(subjects)
    edges = {"y": [-np.inf, 130.0, np.inf]}
    by_values, by_subjects = (
        vpc(fit, often, 5, bins=edges, replicates=150, patients_equal=equal)["y"]
        .table.query("bin == 1 and statistic == 'p50'")
        for equal in (False, True)
    )  # fmt: skip
    assert by_values["observed"].iloc[0] > by_values["high"].iloc[0]
    assert by_subjects["low"].iloc[0] < by_subjects["observed"].iloc[0] < by_subjects["high"].iloc[0]


def test_shrinkage_covariates_outliers():
    fit, records = fitted(n=80)
    table = eta.shrinkage(fit, predictions(fit, records)).set_index("name")
    sd = fit.effects.mode[:, 0].std()
    assert table.loc["eta level", "sd_shrinkage"] == pytest.approx(1 - sd / 1.0)
    assert table.loc["residual y", "sd_shrinkage"] > 0.0
    moved = replace(
        fit, effects=replace(fit.effects, mode=fit.effects.mode + np.outer(records.covariate("x"), [0.3, 0]))
    )
    found = eta.effect_covariates(moved, records, ["x", "absent"])
    assert set(found["covariate"]) == {"x"}
    assert found.set_index("effect").loc["eta level", "p_holm"] < 0.01 < found.set_index("effect").loc["eta slope", "p"]
    far = fit.effects.mode.copy()
    far[7] = [6.0, 0.0]
    odd = eta.outlying_subjects(replace(fit, effects=replace(fit.effects, mode=far)), predictions(fit, records))
    assert odd.iloc[0]["id"] == records.ids[7]
    assert odd.iloc[0]["p"] < 1e-4
    assert len(eta.effects_frame(fit)) == 80


def test_influence_is_the_one_step_deletion():
    fit, records = fitted(n=40)
    rng = np.random.default_rng(2)
    scores = rng.standard_normal((40, len(fit.vector)))
    scores[5] *= 8.0
    table = eta.influence(fit.with_covariance(np.eye(len(fit.vector)) * 0.01, "test"), scores)
    assert table.iloc[0]["id"] == records.ids[5]
    assert table.iloc[0]["cook"] == pytest.approx(0.01 * (scores[5] ** 2).sum() / len(fit.vector))
    with pytest.raises(ValueError, match="covariance"):
        eta.influence(fit, scores)


def test_unknown_observables_are_named():
    fit, records = fitted(n=10)
    with pytest.raises(ModelError, match="observable of the model"):
        vpc(fit, records, 1, observables=["z"])
