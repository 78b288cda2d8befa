"""Crosswalk between schemes, and agreement of two gradings."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal, norm

from icans.core.errors import GradingError, NotEstimableError
from icans.harmonize.grading.agreement import agreement
from icans.harmonize.grading.crosswalk import (
    fill_shares,
    fit,
    latent_table,
    parameters,
    prior,
    translate,
    translate_grades,
)


def test_latent_table_is_the_bivariate_normal_of_two_readings():
    first, second, loading = np.array([0.5, 0.3, 0.1, 0.02]), np.array([0.8, 0.4, 0.2, 0.05]), 0.9
    table = latent_table(first, second, loading)
    assert table.sum() == pytest.approx(1)
    assert table.sum(axis=1)[::-1].cumsum()[::-1][1:] == pytest.approx(first, abs=1e-5)
    assert table.sum(axis=0)[::-1].cumsum()[::-1][1:] == pytest.approx(second, abs=1e-5)
    both = multivariate_normal(cov=[[1, loading**2], [loading**2, 1]])
    above = both.cdf([-norm.isf(first[1]), -norm.isf(second[0])])  # P(first >= 2, second >= 1)
    assert table[2:, 1:].sum() == pytest.approx(above, abs=1e-4)


def test_missing_shares_lie_on_a_line_of_logs():
    assert fill_shares([0.4, 0, 0.1, 0]) == pytest.approx([0.4, 0.2, 0.1, 0.05])
    assert fill_shares([0.4, 0.3, 0.2, 0.1]) == pytest.approx([0.4, 0.3, 0.2, 0.1])


def test_juliet_is_reproduced():
    table = prior("neurotoxicity", "CTCAE4", "ASTCT").joint()
    assert table[1:, 0].sum() / table[1:].sum() == pytest.approx(31 / 50, abs=0.03)
    assert table[:, 1:].sum() == pytest.approx(19 / 111, abs=0.02)
    assert table[1:].sum() == pytest.approx(50 / 111, abs=0.02)


def test_every_published_share_has_a_source_and_decreases():
    for domain in ("neuro", "crs"):
        for entry in parameters()[domain]["schemes"].values():
            assert len(entry["source"]) > 20
            assert (np.diff(fill_shares(entry["at_least"])) < 0).all()
    assert all("Blood Adv" in fact["source"] for fact in parameters()["facts"])


def test_same_scheme_is_nearly_the_identity():
    diagonal = np.diag(prior("CRS", "Lee2014", "Lee2014").conditional())
    assert (diagonal > 0.7).all()
    assert diagonal[:3] == pytest.approx(np.ones(3), abs=0.15)


def test_a_grade_becomes_a_distribution_and_is_never_recoded():
    walk = prior("neurotoxicity", "CTCAE4", "ASTCT")
    frame = translate([0, 1, 2, 3, 4, 2.5, 5, np.nan], walk, draws=200)
    p = frame[[f"p{i}" for i in range(6)]].to_numpy()
    assert p[:7].sum(axis=1) == pytest.approx(np.ones(7))
    assert np.isnan(p[7]).all()
    assert p[6].tolist() == [0, 0, 0, 0, 0, 1]
    assert p[5] == pytest.approx((p[2] + p[3]) / 2)
    assert (p[1:5, :5].max(axis=1) < 1).all()
    expected = p[:5] @ np.arange(6)
    assert (np.diff(expected) > 0).all()  # a higher grade means more severity on average
    known = frame.iloc[:6]
    assert (known["severe_low"] <= known["severe"] + 1e-9).all()
    assert (known["severe"] <= known["severe_high"] + 1e-3).all()
    assert known["severe_high"][4] - known["severe_low"][4] > 0.3  # hardly any grade 4 was ever published


def test_rows_of_a_cohort_are_translated_and_not_written_back():
    grades = pd.DataFrame(
        {"patient_id": ["a", "a", "b"], "time_h": [24.0, 48.0, 24.0], "available_h": [48.0, 72.0, 48.0],
         "toxicity": "neurotoxicity", "scheme": ["CTCAE4", "ASTCT", "CTCAE4"], "grade": [3.0, 1.0, np.nan],
         "lower_bound": False}
    )  # fmt: skip
    before = grades.copy()
    result = translate_grades(grades, prior("neurotoxicity", "CTCAE4", "ASTCT"))
    assert result[["patient_id", "observed"]].to_numpy().tolist()[0] == ["a", 3.0]
    assert len(result) == 2
    assert result["p0"].isna().tolist() == [False, True]
    assert set(result["target"]) == {"ASTCT"}
    pd.testing.assert_frame_equal(grades, before)


def test_both_directions_describe_one_joint_table():
    there = prior("neurotoxicity", "CTCAE4", "ASTCT").joint()
    back = prior("ICANS", "ASTCT", "CTCAE4").joint()
    assert there == pytest.approx(back.T)


def test_paired_data_take_over():
    walk = prior("CRS", "Lee2014", "ASTCT")
    many = fit(walk, np.repeat([0, 1, 2, 3, 4], 2000), np.repeat([0, 2, 2, 3, 3], 2000))
    assert many.pairs == 10_000
    assert many.conditional()[[1, 4], [2, 3]] == pytest.approx([1, 1], abs=0.02)
    spread = [fit(walk, np.repeat(2, n), np.repeat([2, 3], n // 2)).draws(300)[:, 2, 3].std() for n in (4, 40, 400)]
    assert spread[0] > spread[1] > spread[2]


def test_posterior_draws_of_complete_pairs_are_dirichlet():
    walk = fit(prior("CRS", "Lee2014", "ASTCT", strength=5), [2] * 10 + [1] * 10, [2] * 6 + [3] * 4 + [1] * 10)
    assert not walk.facts
    weight = walk.alpha + walk.counts
    row = weight[2] / weight[2].sum()
    drawn = walk.draws(4000, seed=2)[:, 2]
    assert drawn.mean(axis=0) == pytest.approx(row, abs=0.01)
    assert drawn[:, 3].var() == pytest.approx(row[3] * (1 - row[3]) / (weight[2].sum() + 1), rel=0.1)
    assert walk.conditional()[2] == pytest.approx(row)


def test_recovers_a_known_table_from_pairs():
    rng = np.random.default_rng(4)
    truth = np.full((5, 5), 0.05) + 0.75 * np.eye(5)
    a = rng.integers(0, 5, 4000)
    b = np.array([rng.choice(5, p=truth[g] / truth[g].sum()) for g in a])
    walk = fit(prior("CRS", "Lee2014", "ASTCT"), a, b)
    assert walk.conditional() == pytest.approx(truth / truth.sum(axis=1, keepdims=True), abs=0.03)
    low, high = np.quantile(walk.draws(500), [0.005, 0.995], axis=0)
    covered = (low <= truth / truth.sum(axis=1, keepdims=True)) & (truth / truth.sum(axis=1, keepdims=True) <= high)
    assert covered.mean() > 0.9


def test_half_steps_deaths_and_gaps_in_pairs():
    walk = fit(prior("CRS", "Lee2014", "ASTCT"), [1.5, 5, np.nan, 2], [2, 5, 1, np.nan])
    assert walk.counts.sum() == 1
    assert walk.counts[1, 2] == walk.counts[2, 2] == 0.5
    with pytest.raises(GradingError, match="from 0 to 5"):
        fit(walk, [6], [1])
    with pytest.raises(GradingError, match="from 0 to 5"):
        translate([-1], walk)
    with pytest.raises(ValueError, match="one length"):
        fit(walk, [1, 2], [1])


def test_unknown_toxicity_or_scheme():
    with pytest.raises(GradingError, match="no crosswalk for 'TIAN'"):
        prior("TIAN", "ASTCT", "CTCAE4")
    with pytest.raises(GradingError, match="there are"):
        prior("ICANS", "ASTCT", "Penn")


def test_agreement_by_hand():
    a, b = [0, 0, 1, 1, 2, 2], [0, 0, 1, 2, 2, 1]
    result = agreement(a, b, weights="none")
    assert result.exact == pytest.approx(4 / 6)
    assert result.kappa == pytest.approx((4 / 6 - 1 / 3) / (1 - 1 / 3))
    assert (result.higher_first, result.higher_second, result.n) == (1, 1, 6)
    assert result.table.loc[1, 2] == 1
    assert result.kappa_ci[0] <= result.kappa <= result.kappa_ci[1]


@pytest.mark.parametrize("weights", ["quadratic", "linear", "none"])
def test_kappa_matches_scikit_learn(weights):
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(6)
    a = rng.integers(0, 5, 200)
    b = np.clip(a + rng.integers(-1, 2, 200), 0, 4)
    expected = cohen_kappa_score(a, b, weights=None if weights == "none" else weights)
    assert agreement(a, b, weights=weights, replicates=10).kappa == pytest.approx(expected)


def test_agreement_at_its_edges():
    same = agreement([1, 1, 1], [1, 1, 1])
    assert same.exact == 1
    assert np.isnan(same.kappa)
    assert np.isnan(same.kappa_ci).all()
    assert agreement([1, np.nan, 2], [1, 2, np.nan]).n == 1
    with pytest.raises(NotEstimableError):
        agreement([np.nan], [1])
    with pytest.raises(ValueError, match="same patients"):
        agreement([1, 2], [1])


def test_bootstrap_interval_has_about_its_coverage():
    rng = np.random.default_rng(8)
    inside = 0
    for seed in range(60):
        a = rng.integers(0, 4, 80)
        b = np.where(rng.random(80) < 0.7, a, rng.integers(0, 4, 80))
        low, high = agreement(a, b, replicates=300, seed=seed).exact_ci
        inside += low <= 0.7 + 0.3 / 4 <= high
    assert inside >= 52  # 95 % of 60 is 57; fewer than 52 has probability below 0.01


def test_lee_against_astct_in_the_cd22_trial(data_folder):
    pairs = pd.read_csv(data_folder / "cd22_car_hlh" / "crs_grades_two_schemas.csv")
    lee, astct = pairs["crs_max_grade_lee"].to_numpy(), pairs["crs_max_grade_astct"].to_numpy()
    result = agreement(lee, astct)
    assert result.higher_second > result.higher_first  # ASTCT grades more patients up than down
    assert 0.6 < result.exact < 0.9
    recode, published, updated = [], [], []
    copied = 0.02  # a recode that is wrong would score minus infinity: allow it 2 % over the four other grades
    for i in range(len(pairs)):
        others = np.arange(len(pairs)) != i
        walk = prior("CRS", "Lee2014", "ASTCT")
        published.append(np.log(walk.distribution(lee[i])[astct[i]]))
        updated.append(np.log(fit(walk, lee[others], astct[others]).distribution(lee[i])[astct[i]]))
        recode.append(np.log(1 - copied if lee[i] == astct[i] else copied / 4))
    assert np.mean(updated) > np.mean(recode)  # left-out patients: a distribution beats copying the grade
    assert np.mean(updated) > np.mean(published)
