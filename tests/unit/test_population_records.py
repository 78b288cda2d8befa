"""Records from cohorts, parts of models, scores of censored forecasts, rivals of course forecasts: synthetic data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from icans.cohort.cohort import make
from icans.core.errors import DataError, ModelError
from icans.core.random import stream
from icans.evaluate.crps import covered, crps
from icans.forecast.course_rivals import KERNELS, carried_forward, fit_gaussian
from icans.mechanism.doses import Dose
from icans.study.population_records import observables, observations, population_records

DOSES = {"A": (Dose(0.0, "car_t", 1e7, "cells"),), "B": (Dose(0.0, "car_t", 1e7, "cells"),)}


def cohort(rows: list[tuple[object, ...]]):  # type: ignore[no-untyped-def]
    """A synthetic cohort of patients A and B with these measurements."""
    columns = ["patient_id", "time_h", "analyte", "value", "unit", "censor", "limit"]
    table = pd.DataFrame(rows, columns=columns).assign(available_h=lambda t: t["time_h"] + 24.0)
    return make("synthetic", {"patients": pd.DataFrame({"patient_id": ["A", "B"]}), "measurements": table})


def test_limits_become_censored_rows() -> None:
    made = population_records(cohort([
        ("A", 24.0, "il_6", 1472.0, "pg/mL", "right", 1472.0), ("A", 48.0, "gm_csf", 0.54, "pg/mL", "left", 0.54),
        ("A", -24.0, "car_t_count", 0.0, "/uL", "none", np.nan),
        ("B", 168.0, "car_t_count", 0.0, "/uL", "none", np.nan),
        ("B", -12.0, "il_6", 3.0, "pg/mL", "none", np.nan), ("B", 900.0, "il_6", 3.0, "pg/mL", "none", np.nan),
    ]), ["il_6", "gm_csf", "car_t_count"], DOSES, until_h=744.0)  # fmt: skip
    frame = made.records.frame().set_index(["id", "observable", "time_h"])
    assert frame.loc[("A", "IL6", 24.0), "censor"] == "right"
    assert frame.loc[("A", "GMCSF", 48.0), "censor"] == "left"
    zero = frame.loc[("B", "car_blood", 168.0)]
    assert (zero["censor"], zero["value"]) == ("left", observables()["car_t_count"]["floor"])
    assert ("B", "IL6", 0.0) in frame.index, "a value before the infusion stands at hour 0"
    assert ("A", "car_blood", 0.0) not in frame.index
    assert len(frame) == 4
    assert len(made.notes) == 4
    assert made.census.set_index("analyte").loc["car_t_count", "left"] == 1


def test_results_known_later_than_sampled_are_not_known_at_the_landmark() -> None:
    made = population_records(cohort([
        ("A", 24.0, "il_6", 5.0, "pg/mL", "none", np.nan), ("B", 24.0, "il_6", 5.0, "pg/mL", "none", np.nan),
    ]), ["il_6"], DOSES)  # fmt: skip
    assert len(made.records.until(24.0).frame()) == 0
    assert len(made.records.until(48.0).frame()) == 2


def test_all_problems_at_once() -> None:
    with pytest.raises(DataError) as caught:
        population_records(cohort([
            ("A", 24.0, "il_6", 5.0, "ng/mL", "none", np.nan), ("A", 24.0, "ifn_g", 0.0, "pg/mL", "none", np.nan),
            ("B", 24.0, "crp", -1.0, "mg/L", "none", np.nan),
        ]), ["il_6", "ifn_g", "crp", "ferritin"], {"A": DOSES["A"]})  # fmt: skip
    text = str(caught.value)
    for word in ("il_6", "ifn_g", "crp", "ferritin", "patient B"):
        assert word in text
    with pytest.raises(DataError, match="il_66"):
        observations(["il_66"])


def test_crps_of_normal_draws_is_the_closed_form() -> None:
    rng = stream(1, "test crps")
    mean, sd, y = rng.normal(size=50), rng.uniform(0.5, 2.0, 50), rng.normal(size=50)
    level = (np.arange(4000) + 0.5) / 4000
    draws = mean[:, None] + sd[:, None] * stats.norm.ppf(level)[None]
    z = (y - mean) / sd
    exact = sd * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
    assert np.abs(crps(draws, y) - exact).max() < 2e-3
    weights = rng.dirichlet(np.ones(200), 50)
    few = rng.normal(size=(50, 200))
    brute = (weights * np.abs(few - y[:, None])).sum(1) - 0.5 * np.einsum(
        "ni,nj,nij->n", weights, weights, np.abs(few[:, :, None] - few[:, None, :])
    )  # fmt: skip
    assert np.allclose(crps(few, y, weights), brute, atol=1e-12)


def test_censored_scores_do_not_see_beyond_the_limit() -> None:
    draws = np.array([[0.0, 1.0, 5.0, 9.0]])
    high = np.array([2.0])
    far = np.array([[0.0, 1.0, 2.0, 2.0]])
    assert np.allclose(crps(draws, np.array([2.0]), high=high), crps(far, np.array([2.0])))
    level = (np.arange(1000) + 0.5) / 1000
    normal = np.tile(stats.norm.ppf(level), (3, 1))
    assert covered(normal, np.array([0.0, 1.6, 1.7])).tolist() == [True, True, False]
    assert covered(normal, np.array([1.0, 1.0, 1.0]), high=np.full(3, 1.0)).all()


def test_rivals_know_what_made_the_data() -> None:
    """A Gaussian process fitted to courses of its own kind has calibrated, sharper forecasts than carrying forward."""
    rng = stream(3, "test rivals")
    days = np.arange(0.0, 21.0)
    gap = np.sqrt(3.0) * np.abs(days[:, None] - days[None]) / 4.0
    root = np.linalg.cholesky((1 + gap) * np.exp(-gap) + 1e-9 * np.eye(21))
    curve = 3.0 * np.exp(-((days - 9.0) ** 2) / 20.0)

    def course() -> tuple[np.ndarray, np.ndarray]:
        return days, curve + 0.5 * rng.normal() + root @ rng.normal(size=21) + 0.3 * rng.normal(size=21)

    train, test = [course() for _ in range(60)], [course() for _ in range(60)]
    ahead = np.array([9.0, 11.0, 13.0])
    scores: dict[str, list[float]] = {}
    inside = []
    fitted = {name: fit_gaussian(name, train) for name in KERNELS}
    for t, y in test:
        own, at = (t[t <= 7], y[t <= 7]), np.isin(t, ahead)
        for name, model in fitted.items():
            draws = model.forecast(own, ahead)
            scores.setdefault(name, []).extend(crps(draws, y[at]))
            if name == "Gaussian process":
                inside += list(covered(draws, y[at]))
        scores.setdefault("carried", []).extend(crps(carried_forward(train, own, ahead, 7.0), y[at]))
    mean = {name: float(np.mean(s)) for name, s in scores.items()}
    assert mean["Gaussian process"] < mean["log-linear mixed model"]
    assert mean["Gaussian process"] < mean["carried"]
    # Days of one patient are correlated: 60 patients, not 180 values.
    assert 0.80 < np.mean(inside) < 0.97


def test_part_of_a_model_gives_the_same_courses() -> None:
    from icans.mechanism.engine.simulate import simulate
    from icans.mechanism.part import part_of
    from icans.mechanism.patient import patient_model

    whole = patient_model(brain=False)
    outputs = ("IL6", "CRP", "car_blood")
    part = part_of(whole, outputs)
    assert len(part.states) < len(whole.states)
    hours, dose = np.arange(0.0, 337.0, 24.0), (Dose(0.0, "car_t", 2e8, "cells"),)
    runs = [simulate(m, {}, dose, hours, outputs=outputs, rtol=1e-8) for m in (whole, part)]
    assert np.allclose(runs[0].values, runs[1].values, rtol=1e-4, atol=1e-6)
    with pytest.raises(ModelError, match="IL66"):
        part_of(whole, ["IL66"])
