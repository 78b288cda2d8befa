"""What is new about a patient is told, and widens the interval; nothing else does."""

from __future__ import annotations

import tomllib
from importlib import resources

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast_cohorts import simulated
from icans.cohort.cohort import Cohort
from icans.evaluate.meta_analysis import random_effects
from icans.forecast.crossval import Design
from icans.forecast.envelope import Envelope, Note, total_sd, unseen_sd, widened
from icans.forecast.final import FinalModel, fit_final
from icans.forecast.forecast import Forecast
from icans.forecast.ladder import ladder
from icans.forecast.outcomes import TASKS, Horizon

COHORT = simulated(80, seed=4)
DESIGN = Design(landmarks_h=(48.0, 96.0), horizons=(Horizon(168.0),))


@pytest.fixture(scope="module")
def model() -> FinalModel:
    return fit_final(COHORT, TASKS["icans_any"], ladder(names=["cox_last"])[0], DESIGN, refits=0)


def one(cohort: Cohort, **patient: object) -> Cohort:
    """The first patient who is still at risk, with some columns changed."""
    table = cohort.patients
    for name, value in patient.items():
        table = table.assign(**{name: value}).astype({name: cohort.patients[name].dtype})
    return cohort.with_table("patients", table)


def first(model: FinalModel, cohort: Cohort, landmark_h: float = 72.0) -> Forecast:
    return model.forecast(cohort, landmark_h)[0][0]


@pytest.mark.parametrize("kind", ["product", "site"])
def test_published_incidences_give_the_sd_of_an_unseen_level(kind: str) -> None:
    text = resources.files("icans.forecast").joinpath("novelty.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text)[kind]
    n = np.array([row["n"] for row in rows], dtype=float)
    share = np.array([row["any_pct"] for row in rows]) / 100
    pooled = random_effects(np.log(share / (1 - share)), 1 / (n * share * (1 - share)), method="dl")
    assert unseen_sd(kind) == pytest.approx(np.sqrt(pooled.tau2), abs=0.005)


def test_a_patient_like_the_training_patients_has_no_interval_from_novelty(model: FinalModel) -> None:
    forecast = first(model, COHORT)
    assert np.isnan(forecast.low)
    assert all("new to the model" not in note for note in forecast.notes)


def test_a_new_product_is_told_and_widens(model: FinalModel) -> None:
    plain, new = first(model, COHORT), first(model, one(COHORT, product="product-x", costimulation="other"))
    assert any("'product-x' is new" in note for note in new.notes)
    assert new.low < new.risk < new.high
    reach = np.log(new.high / (1 - new.high)) - np.log(new.risk / (1 - new.risk))
    assert reach == pytest.approx(1.96 * unseen_sd("product"), rel=0.01)  # its costimulation is not counted again
    assert not any("new to the model" in note for note in plain.notes)


def test_a_day_beyond_training_is_told(model: FinalModel) -> None:
    assert any("has learned from days 2 to 4" in note for note in first(model, COHORT, 168.0).notes)


def test_an_unseen_assay_is_told() -> None:
    rows = COHORT.measurements
    named = COHORT.with_table("measurements", rows.assign(assay="bead array").astype({"assay": rows["assay"].dtype}))
    model = fit_final(named, TASKS["icans_any"], ladder(names=["cox_last"])[0], DESIGN, refits=0)
    other = COHORT.with_table("measurements", rows.assign(assay="chip").astype({"assay": rows["assay"].dtype}))
    assert any("measured by chip; the model has seen bead array" in note for note in first(model, other).notes)
    assert not any("measured by" in note for note in first(model, named).notes)


def test_a_modality_never_trained_on_plays_no_part(model: FinalModel) -> None:
    table = model.inputs_of(COHORT, COHORT.patient_ids[:1], 72.0).table
    before = model.fitted.predict(table, DESIGN.horizons[0])
    with_eeg = table.assign(**{"eeg.slowing": 3.0})
    notes = model.envelope.notes_of(COHORT, with_eeg, model.used(with_eeg))[0]
    assert any(note.kind == "modality" and "eeg" in note.about for note in notes)
    assert model.fitted.predict(with_eeg, DESIGN.horizons[0]) == pytest.approx(before)


def test_an_extreme_value_is_told_once_for_all_columns_of_its_analyte(model: FinalModel) -> None:
    table = model.inputs_of(COHORT, COHORT.patient_ids[:1], 72.0).table
    name = next(n for n in model.used(table) if n.startswith("lab.") and n.endswith(".last"))
    notes = model.envelope.notes_of(COHORT, table.assign(**{name: 1e9}), model.used(table))[0]
    assert [note.about for note in notes if note.kind == "range"] == [".".join(name.split(".")[:2])]


def test_who_already_has_icans_gets_no_forecast_but_a_reason(model: FinalModel) -> None:
    made, without = model.forecast(COHORT, 240.0)
    assert "has had the event" in set(without["reason"])
    assert not {f.patient_id for f in made} & set(without["patient_id"])


def test_an_envelope_goes_through_plain_values(model: FinalModel) -> None:
    assert Envelope.from_dict(model.envelope.as_dict()) == model.envelope


RISK = st.floats(0.01, 0.99)


@given(risk=RISK, spread=st.floats(0.0, 0.2), sds=st.lists(st.floats(0.0, 2.0), max_size=4))
def test_more_novelty_never_narrows(risk: float, spread: float, sds: list[float]) -> None:
    low, high = np.array([max(risk - spread, 0.005)]), np.array([min(risk + spread, 0.995)])
    kinds = ["landmark", "assay", "range", "modality"]
    notes = [Note(kind, kind, "", sd) for kind, sd in zip(kinds, sds, strict=False)]  # type: ignore[arg-type]
    at = np.array([risk])
    few, all_of = widened(at, low, high, [notes[:1]]), widened(at, low, high, [notes])
    assert all_of[0] <= few[0] + 1e-12
    assert all_of[1] >= few[1] - 1e-12
    assert few[0] <= low + 1e-12
    assert few[1] >= high - 1e-12
    assert total_sd(notes) == pytest.approx(np.sqrt(sum(sd**2 for sd in sds)))
