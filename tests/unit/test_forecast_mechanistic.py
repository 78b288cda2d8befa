"""The mechanistic block: likelihood against plain formulas, population without the patient, no look ahead."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from scipy.stats import t as student

import icans
from icans.core.errors import DataError
from icans.core.random import stream
from icans.evaluate.audit_shuffle import shuffle_future
from icans.evaluate.performance import performance
from icans.forecast.crossval import Design, cross_validate
from icans.forecast.final import fit_final
from icans.forecast.forecast import to_frame
from icans.forecast.mechanistic import kernels, stored
from icans.forecast.mechanistic import likelihood as lik
from icans.forecast.mechanistic import population as pop
from icans.forecast.mechanistic.block import MechanisticBlock, column_names, from_parts
from icans.forecast.mechanistic.courses import courses
from icans.forecast.mechanistic.evidence import evidence
from icans.forecast.mechanistic.foretold import reached, risk
from icans.forecast.mechanistic.library import GRID_H, Recipe, library, recipe_key, simulate_members
from icans.forecast.mechanistic.posterior import Tempering, log_prior, posterior, quantiles
from icans.forecast.mechanistic.rungs import mechanistic_rungs
from icans.forecast.model_file import read_model, write_model
from icans.forecast.outcomes import TASKS, Horizon
from icans.study.mechanism_value import of_results

RECIPE = Recipe(members=240)


@pytest.fixture(scope="module")
def members():
    return library(RECIPE)


@pytest.fixture(scope="module")
def cohort():
    return icans.harmonize_cohort(icans.demo_cohort(n=40, seed=3)).cohort


@pytest.fixture(scope="module")
def fitted(cohort):
    return MechanisticBlock(RECIPE).fit(cohort, 1)


def test_the_stored_library_is_the_current_one():
    made = stored.read(recipe_key(Recipe()))
    assert made is not None, "make it again: python -m icans.forecast.mechanistic.stored"
    whole = library()
    assert whole.key == recipe_key(Recipe())
    assert len(whole) == Recipe().members
    assert whole.levels["il_6"].shape == (len(GRID_H), len(whole))
    assert stored.read(recipe_key(RECIPE)) is None


def test_the_stored_members_are_those_that_are_simulated_now(full):
    made, stored_before = simulate_members(Recipe()), stored.read(recipe_key(Recipe()))
    assert set(made) == set(stored_before)
    for name, values in made.items():
        np.testing.assert_allclose(values.astype(float), stored_before[name].astype(float), atol=0.02, rtol=0.01)


def plan_of(cohort, hours):
    ids = cohort.patient_ids
    return pd.DataFrame({"patient_id": np.tile(ids, len(hours)), "landmark_h": np.repeat(hours, len(ids))})


def test_values_and_limits_have_the_likelihood_of_students_t(members):
    rng = stream(1, "test mechanistic")
    n, series = 40, members.levels["crp"]
    low, part = members.place(rng.uniform(0, 700, n))
    value, row = rng.normal(3, 1, n), np.sort(rng.integers(0, 3, n))
    total = np.zeros((3, len(members)), dtype=np.float32)
    kernels.add_terms(total, series, low, part, value, row, 0.7)
    level = series[low] * (1 - part[:, None]) + series[low + 1] * part[:, None]
    wanted = student.logpdf((value[:, None] - level) / 0.7, 4) - np.log(0.7) - student.logpdf(0.0, 4)
    for k in range(3):
        np.testing.assert_allclose(total[k], wanted[row == k].sum(axis=0), rtol=2e-4, atol=2e-3)
    x = np.linspace(-9, 9, 31)
    np.testing.assert_allclose(lik.t4_cdf(x), student.cdf(x, 4), atol=1e-12)


def test_grades_lie_between_the_cuts():
    cuts = np.log([1.0, 2.0, 3.0, 4.0, 5.0])
    low, high = lik.edges(cuts, np.array([0.0, 1.0, 2.0, 5.0, 1.5, 0.5]))
    np.testing.assert_allclose(np.exp(low[1:5]), [1.0, 2.0, 5.0, np.exp((cuts[0] + 3 * cuts[1]) / 4)])
    assert low[0] == -np.inf
    assert high[3] == np.inf
    assert high[0] == low[1]
    assert low[5] < cuts[0] < high[5] < cuts[1]


def test_moments_are_those_of_the_weighted_t_and_of_a_truncated_normal(members):
    rng = stream(2, "test mechanistic")
    n, series = 30, members.levels["crp"]
    low, part = members.place(rng.uniform(0, 700, n))
    value, patient = rng.normal(3, 1, n), rng.integers(0, 2, n)
    weights = rng.dirichlet(np.ones(len(members)), 2).astype(np.float32)
    found = kernels.moments(weights, series, low, part, value, patient, 0.2, 0.8)
    gap = value[:, None] - (series[low] * (1 - part[:, None]) + series[low + 1] * part[:, None])
    u = weights[patient] * 5.0 / (4.0 + ((gap - 0.2) / 0.8) ** 2)
    np.testing.assert_allclose(found, [u.sum(), (u * gap).sum(), (u * gap**2).sum()], rtol=1e-4)
    mean, square = pop._beyond(np.array([[0.3]]), np.array([-1]), 0.5, 0.9)
    draws = norm.ppf(np.linspace(1e-7, norm.cdf(0.3, 0.5, 0.9), 400_001), 0.5, 0.9)
    np.testing.assert_allclose([mean[0, 0], square[0, 0]], [draws.mean(), (draws**2).mean()], rtol=1e-3)


def test_members_like_the_patient_get_the_weight(members):
    """A patient who is a member of the library, observed without error, is found again."""
    own = 17
    hours = np.arange(6.0, 240.0, 12.0)
    labs = pd.concat([
        pd.DataFrame({"patient_id": "a", "time_h": hours, "available_h": hours, "analyte": name, "matrix": "plasma",
                      "unit": unit, "value": np.exp(members.at(members.levels[name], hours)[:, own])})
        for name, unit in (("il_6", "pg/mL"), ("crp", "mg/L"), ("ferritin", "ng/mL"))
    ])  # fmt: skip
    from icans.cohort.cohort import make

    one = make("one", {"patients": pd.DataFrame({"patient_id": ["a"]}), "measurements": labs})
    seen = evidence(one)
    assay = lik.Assay(seen.analytes, np.zeros(3), np.full(3, 0.2))
    known = lik.likelihood(members, seen, assay, lik.Asked(np.array([0]), np.array([240.0])))
    weights = posterior(log_prior(members, seen.group, members.prior), known, Tempering(1.0, 1.0), least=0.0).weights
    assert int(np.argmax(weights[0])) == own


def test_tempering_keeps_the_sample(members, cohort, fitted):
    seen = evidence(cohort)
    n = len(seen.ids)
    known = lik.likelihood(members, seen, fitted.population.assay, lik.Asked(np.arange(n), np.full(n, 240.0)))
    prior = log_prior(members, seen.group, members.prior)
    full = posterior(prior, known, Tempering(1.0, 1.0), least=0.0)
    kept = posterior(prior, known, Tempering(1.0, 1.0), least=20.0)
    assert full.ess.min() < 15.0
    assert kept.ess.min() >= 20.0
    assert ((kept.power < 1.0) == (full.ess < 20.0)).all()


def test_columns_ignore_the_future(cohort, fitted):
    plan = plan_of(cohort, [72.0])
    before = fitted.columns(cohort, plan, np.full(len(plan), 72.0))
    assert list(before.columns) == column_names()
    assert before.notna().all().all()
    for k in range(2):
        after = fitted.columns(shuffle_future(cohort, 72.0, 1, k), plan, np.full(len(plan), 72.0))
        pd.testing.assert_frame_equal(before, after)


def test_a_row_depends_on_its_patient_alone(cohort, fitted):
    plan = plan_of(cohort, [48.0, 120.0])
    every = fitted.columns(cohort, plan, plan["landmark_h"].to_numpy())
    some = cohort.subset(cohort.patient_ids[20:23])
    mine = plan["patient_id"].isin(some.patient_ids).to_numpy()
    few = fitted.columns(some, plan[mine].reset_index(drop=True), plan.loc[mine, "landmark_h"].to_numpy())
    pd.testing.assert_frame_equal(every[mine].reset_index(drop=True), few, rtol=1e-3, atol=1e-3)


def test_a_training_patient_is_foretold_without_his_own_part(cohort, members, fitted):
    p = fitted.population
    prior = members.prior
    others = p.strength * prior + p.own[1:].sum(axis=0)
    np.testing.assert_allclose(
        p.without(prior, [p.marks[0], "unseen"]),
        [others / others.sum(), p.weights], rtol=1e-4, atol=1e-9,
    )  # fmt: skip


def test_quantiles_are_those_of_a_repeated_sample():
    value = np.array([3.0, 1.0, 2.0])
    weights = np.array([[0.25, 0.5, 0.25], [0.0, 0.0, 1.0]])
    found = quantiles(weights, value, (0.1, 0.6, 0.9))
    np.testing.assert_array_equal(found, [[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]])


def test_risks_are_those_of_the_posterior_sample(members):
    """With all weight on members, the risk ahead is their mean chance of the event among those without it."""
    weights = np.zeros((1, len(members)), dtype=np.float32)
    weights[0, [3, 50, 120]] = 1 / 3
    at, ahead = 72.0, np.array([24.0, 168.0])
    by = reached(members, "icans_1", np.array([at, *(at + ahead)]))[:, [3, 50, 120]]
    wanted = (by[1:] - by[0]).mean(axis=1) / (1 - by[0]).mean()
    np.testing.assert_allclose(risk(weights, members, "icans_1", at, ahead)[0], wanted, rtol=1e-4, atol=1e-6)


def test_too_few_events_keep_the_default_powers(members, cohort):
    few = evidence(cohort.subset(cohort.patient_ids[:3]))
    power, strength, score = pop.choose(members, few, lik.Assay.prior(few.analytes))
    assert power == Tempering()
    assert strength == pop.STRENGTHS[1]
    assert np.isnan(score)


def test_what_the_model_does_not_have_is_told(cohort, fitted):
    assert any("wbc" in note for note in fitted.notes)
    frame = cohort.measurements
    strange = cohort.with_table(
        "measurements", frame.assign(unit=frame["unit"].where(frame["analyte"] != "crp", "g/L"))
    )
    assert any("crp" in note and "unit" in note for note in evidence(strange).notes)


@pytest.fixture(scope="module")
def judged(cohort):
    design = Design(landmarks_h=(72.0,), horizons=(Horizon(168.0),), folds=2, repeats=1, min_events=5)
    return cross_validate(
        cohort, TASKS["icans_any"], mechanistic_rungs(boosting=False), design, blocks=[MechanisticBlock(RECIPE)]
    )


def test_rungs_run_through_cross_validation(judged):
    risk = judged.predictions.pivot(index="patient_id", columns="model", values="risk")
    assert set(risk.columns) == {rung.name for rung in mechanistic_rungs(boosting=False)}
    assert risk.notna().all().all()
    assert not np.allclose(risk["logistic_clinical"], risk["logistic_both"])


def test_the_experiment_agrees_with_the_judge(judged):
    """With one cell the pooled metrics are the judge's own, and differences are differences."""
    found = of_results([judged], n_boot=20)
    table = performance(judged.predictions, n_boot=0)
    for metric in ("auc_within_fold", "brier"):
        wanted = table[table["metric"] == metric].set_index("model")["value"]
        mine = found.performance[found.performance["metric"] == metric].set_index("model")["value"]
        pd.testing.assert_series_equal(mine.sort_index(), wanted.sort_index(), check_names=False)
    one = found.differences.query("model == 'logistic_both' and metric == 'brier'").iloc[0]
    value = found.performance.query("metric == 'brier'").set_index("model")["value"]
    assert one["difference"] == pytest.approx(value["logistic_both"] - value["logistic_clinical"])
    assert one["low"] <= one["difference"] <= one["high"]
    assert any(sentence.startswith("icans_any: adding the mechanistic columns") for sentence in found.sentences())


def test_a_saved_model_with_the_block_forecasts_the_same(cohort, tmp_path):
    design = Design(landmarks_h=(72.0,), horizons=(Horizon(168.0),), folds=3, repeats=1)
    rung = mechanistic_rungs(boosting=False)[0]
    model = fit_final(cohort, TASKS["icans_any"], rung, design, blocks=[MechanisticBlock(RECIPE)], refits=1)
    write_model(model, tmp_path / "model.icans")
    back = read_model(tmp_path / "model.icans")
    some = cohort.subset(cohort.patient_ids[:9])  # other people with the same numbers
    new = some.with_table("patients", some.patients.assign(age_y=some.patients["age_y"] + 1))
    before, after = (to_frame(m.forecast(new, 72.0)[0])["risk"] for m in (model, back))
    np.testing.assert_allclose(after, before, rtol=1e-5)


def test_another_person_of_the_same_number_is_not_a_training_patient(cohort, fitted):
    some = cohort.subset(cohort.patient_ids[:2])
    other = some.with_table("patients", some.patients.assign(age_y=some.patients["age_y"] + 1))
    assert not set(evidence(other).marks) & set(fitted.population.marks)
    assert set(evidence(cohort).marks) == set(fitted.population.marks)


def test_courses_pass_through_the_columns(cohort, fitted):
    patient = cohort.patient_ids[4]
    found = courses(fitted, cohort, patient, 72.0)
    plan = pd.DataFrame({"patient_id": [patient], "landmark_h": [72.0]})
    row = fitted.columns(cohort.subset([patient]), plan, np.array([72.0])).iloc[0]
    now = found[(found["time_h"] == 72.0) & (found["quantity"] == "endothelium")].iloc[0]
    assert now["mean"] == pytest.approx(row["mech.endothelium"], rel=1e-4)
    banded = found[found["kind"] != "risk"]
    assert ((banded["low"] <= banded["median"]) & (banded["median"] <= banded["high"])).all()
    risk_ = found[(found["quantity"] == "icans_1") & (found["time_h"] == 144.0)]["mean"].iloc[0]
    assert np.log(risk_ / (1 - risk_)) == pytest.approx(row["mech.icans_1.72h"], abs=0.02)
    with pytest.raises(KeyError, match="nobody"):
        courses(fitted, cohort, "nobody", 72.0)


def test_weights_of_another_library_are_refused(fitted):
    meta, arrays = fitted.to_parts()
    with pytest.raises(DataError, match="library"):
        from_parts(meta | {"library": "another"}, arrays)
