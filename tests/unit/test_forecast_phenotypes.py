"""Phenotypes: labels by hand, the shared ridge against brute force and its limits, refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecast_parts import travelled
from icans.cohort.cohort import make
from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.forecast import ridge
from icans.forecast.models.parts import from_parts, to_parts
from icans.forecast.models.phenotype_model import PhenotypeModel
from icans.forecast.outcomes import Horizon
from icans.forecast.phenotypes import PHENOTYPES, Phenotype, phenotype_table
from icans.forecast.preprocess import PrepareSpec
from icans.forecast.ridge import expit
from icans.forecast.shared_ridge import fit_path

PLAIN = {"columns": list, "prepare": PrepareSpec(transform="none", winsor=None)}


def assessed(rows):
    frame = pd.DataFrame(rows, columns=["patient_id", "time_h", "item", "value", "attributable"])
    frame = frame.assign(available_h=frame["time_h"] + 2.0)
    patients = pd.DataFrame({"patient_id": sorted(frame["patient_id"].unique())})
    return make("assessed", {"patients": patients, "assessments": frame})


def test_labels_of_five_patients():
    cohort = assessed(
        [
            ("a", 30.0, "ice_total", "10", pd.NA), ("a", 80.0, "ice_total", "8", pd.NA),
            ("a", 81.0, "ice_naming", "2", pd.NA),
            ("b", 80.0, "ice_total", "10", pd.NA), ("b", 90.0, "seizure", "brief_focal", pd.NA),
            ("c", 20.0, "confusion", "mild", pd.NA), ("c", 80.0, "ice_total", "10", pd.NA),
            ("d", 80.0, "confusion", "severe", False), ("d", 90.0, "ice_naming", "3", pd.NA),
            ("e", 300.0, "cerebral_oedema", "diffuse", pd.NA),
        ]
    )  # fmt: skip
    plan = pd.DataFrame({"patient_id": list("abcde"), "landmark_h": 48.0})
    found = phenotype_table(cohort, plan, Horizon(72.0)).droplevel("landmark_h")
    nan = np.nan
    expected = pd.DataFrame(
        {
            "encephalopathy": [1, 0, nan, nan, nan],  # c had it before; of d another cause, of e nothing is known
            "aphasia": [1, nan, nan, 0, nan],
            "seizure": [0, 1, 0, 0, nan],  # written down when found: looked at is enough
            "oedema": [0, 0, 0, 0, nan],
        },
        index=pd.Index(list("abcde"), name="patient_id"),
    )
    pd.testing.assert_frame_equal(found, expected.astype(float))
    # A finding counts from when it could be known: at hour 82, not 80.
    late = phenotype_table(cohort, plan.assign(landmark_h=81.0), Horizon(72.0)).droplevel("landmark_h")
    assert late.loc["a", "encephalopathy"] == 1
    early = phenotype_table(cohort, plan, Horizon(33.0)).droplevel("landmark_h")
    assert np.isnan(early.loc["a", "encephalopathy"])
    with pytest.raises(KeyError, match="no such items"):
        phenotype_table(cohort, plan, Horizon(72.0), [Phenotype("x", {"nonsense": ("none",)}, {}, {})])


def test_every_item_is_in_the_vocabulary_and_its_harmless_words_are_words():
    from icans.cohort import vocabulary

    for phenotype in PHENOTYPES:
        for item, harmless in phenotype.words.items():
            entry = vocabulary.items()[item]
            if entry.kind == "choice":
                assert set(harmless) <= set(entry.allowed)


def known(n=500, seed=1, labels=3, effects=((1.0, -0.5, 0.0), (1.0, -0.5, 0.0), (1.0, -0.5, 0.8)), shift=-1.0):
    rng = stream(seed, "labels")
    X = rng.normal(size=(n, 3))
    logit = X @ np.array(effects).T[:, :labels] + np.array([shift] * labels)
    Y = (rng.random((n, labels)) < expit(logit)).astype(float)
    Y[rng.random((n, labels)) < 0.2] = np.nan
    return X, Y


def test_the_shared_ridge_is_a_ridge_on_stacked_rows():
    X, Y = known(120)
    offset = stream(2, "offset").normal(size=Y.shape) * 0.3
    (ours,) = fit_path(X, Y, (0.1,), 4.0, offset)
    row, label = np.nonzero(~np.isnan(Y))
    own = np.zeros((len(row), 3 + 9))
    own[:, :3] = X[row]
    for l in range(3):
        own[label == l, 3 + 3 * l : 6 + 3 * l] = X[row[label == l]] / 2.0  # penalised four times as much
    dummies = np.eye(3)[label][:, 1:] * 1e4  # as good as free
    peer = ridge.fit_path(
        np.column_stack([own, dummies]), Y[row, label], np.ones(len(row)), (0.1,), offset[row, label]
    )[0]
    np.testing.assert_allclose(ours.common, peer.coefficients[:3], atol=1e-5)
    np.testing.assert_allclose(ours.deviation.ravel(), peer.coefficients[3:12] / 2.0, atol=1e-5)
    assert ours.intercept[0] == pytest.approx(peer.intercept, abs=1e-4)


def test_limits_of_the_shared_ridge():
    X, Y = known()
    offset = np.zeros(Y.shape)
    (alike,) = fit_path(X, Y, (0.01,), 1e8, offset)
    assert np.abs(alike.deviation).max() < 1e-6
    (none,) = fit_path(X, Y, (1e8,), 1.0, offset)
    rate = np.nanmean(Y, axis=0)
    np.testing.assert_allclose(expit(none.intercept), rate, atol=1e-6)
    with pytest.raises(NotEstimableError, match="same outcome"):
        fit_path(X, np.zeros(Y.shape), (0.1,), 4.0, offset)


def framed(X, Y, names=("encephalopathy", "aphasia", "seizure")):
    index = pd.MultiIndex.from_arrays(
        [[f"p{i:04d}" for i in range(len(X))], np.full(len(X), 48.0)], names=["patient_id", "landmark_h"]
    )
    return pd.DataFrame(X, index=index, columns=list("abc")), pd.DataFrame(Y, index=index, columns=list(names))


def test_known_effects_are_found_and_a_rare_label_leans_on_the_others():
    same_effects = ((1.0, -0.5, 0.0), (1.0, -0.5, 0.2), (1.0, -0.5, 0.1))
    X, Y = known(1500, effects=same_effects)
    Y[:, 2] = np.where(np.arange(1500) < 90, Y[:, 2], np.nan)  # known for few
    table, labels = framed(X, Y)
    fitted = PhenotypeModel(**PLAIN).fit(table, labels, seed=1)
    risk = fitted.predict(table)
    truth = expit(X @ np.array(same_effects).T - 1.0)
    for k in range(2):
        assert np.sqrt(np.mean((risk.iloc[:, k] - truth[:, k]) ** 2)) < 0.04
    alone = PhenotypeModel(**PLAIN).fit(table, labels[["seizure"]], seed=1).predict(table)["seizure"]
    error = [np.sqrt(np.mean((r - truth[:, 2]) ** 2)) for r in (risk["seizure"], alone)]
    assert error[0] < error[1] < 0.2
    reasons = fitted.reasons(table, "aphasia")
    assert reasons.abs().mean().idxmax() == "a"
    again = from_parts(*travelled(to_parts(fitted)))
    pd.testing.assert_frame_equal(again.predict(table), risk)
    assert again.refused == fitted.refused
    repeated = PhenotypeModel(**PLAIN).fit(table, labels, seed=1)
    pd.testing.assert_frame_equal(repeated.predict(table), risk)


def test_a_label_with_too_few_events_is_refused_by_name():
    X, Y = known()
    few = np.flatnonzero(Y[:, 2] == 1)
    Y[few[9:], 2] = 0.0
    table, labels = framed(X, Y)
    fitted = PhenotypeModel(**PLAIN).fit(table, labels)
    assert fitted.labels == ["encephalopathy", "aphasia"]
    assert fitted.refused["seizure"].startswith("seizure: 9 patients had it")
    with pytest.raises(NotEstimableError, match="9 patients had it"):
        fitted.reasons(table, "seizure")
    with pytest.raises(NotEstimableError, match="no phenotype can be forecast"):
        PhenotypeModel(**PLAIN).fit(table.iloc[:12], labels.iloc[:12])
    with pytest.raises(ValueError, match="same order"):
        PhenotypeModel(**PLAIN).fit(table, labels.iloc[::-1])
