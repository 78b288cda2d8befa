"""What if: draws of a patient, paired arms that share their past, a window, and the same from a population fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from icans.core.errors import DataError, ModelError
from icans.datasets.demo import demo_cohort
from icans.forecast.mechanistic.library import Recipe, library
from icans.intervene.strategy.reading import strategy, strategy_of
from icans.intervene.whatif.draws import Draws, library_draws, members_as_patients, resampled
from icans.intervene.whatif.pairs import WhatIf, effects, last_useful_h, therapy_from, what_if

RECIPE = Recipe(40, 7)
DRUGS = ("dexamethasone", "tocilizumab")
LANDMARK = 96.0


@pytest.fixture(scope="module")
def draws() -> Draws:
    cohort = demo_cohort(12, seed=5)
    return library_draws(cohort, cohort.patient_ids[2], LANDMARK, draws=20, drugs=DRUGS, recipe=RECIPE)


@pytest.fixture(scope="module")
def found(draws: Draws) -> WhatIf:
    return what_if(draws, strategy("dexamethasone_prophylaxis"), strategy("present"), starts_h=(48.0,))


def test_draws_are_members_with_their_own_parameters(draws: Draws) -> None:
    """A member drawn again and simulated has the course that the library keeps of it."""
    from icans.intervene.compare.arm import run_course
    from icans.population import artefact

    members = library(RECIPE)
    picked = np.array([3, 25, 35])
    again = members_as_patients(members, RECIPE, picked, DRUGS)
    course = run_course(strategy("present"), again, artefact.read().readings, ("CRP",))
    mine = np.log(np.maximum(course.series["CRP"][:, ::2], 1e-9)).T
    theirs = members.levels["crp"][:, picked]
    # library: doses for a typical weight; here for each patient's own
    assert np.median(np.abs(mine - theirs[: len(mine)])) < 0.05
    assert len(draws) == 20
    assert 1 < draws.ess <= len(members)
    assert (draws.seen["available_h"] <= LANDMARK).all()


def test_resampling_is_by_weight() -> None:
    weights = np.array([0.0, 0.5, 0.25, 0.25])
    counts = np.bincount(resampled(weights, 400, 1, "p"), minlength=4)
    assert counts.tolist() == [0, 200, 100, 100]


def test_arms_share_the_past_and_differ_after(found: WhatIf) -> None:
    times = found.without.times_h
    for name in ("encephalopathy", "car_blood", "IL6"):
        a, b = found.without.series[name], found.with_.series[name]
        np.testing.assert_allclose(a[:, times <= LANDMARK], b[:, times <= LANDMARK], rtol=1e-3, atol=1e-4)
        assert not np.allclose(a[:, times > LANDMARK + 24], b[:, times > LANDMARK + 24], rtol=1e-3)
    told = found.effects.set_index("outcome")
    assert told.loc["steroid_mg_dex_equivalent", "with"] >= 30.0
    assert told.loc["days_icans_ge2", "difference"] <= 0.0
    assert {"car_auc_0_28", "tumour_log10_reduction", "bcell_aplasia_days", "infection_days", "neutropenia_days",
            "icans_3", "crs_3", "response_probability"} <= set(told.index)  # fmt: skip
    x = found.outcomes.pivot(index="patient", columns="arm", values="icu_days")
    assert told.loc["icu_days", "difference"] == pytest.approx((x["with"] - x["without"]).mean())
    assert (told["draws"] == 20).all()


def test_intervals_widen_with_fewer_effective_draws(found: WhatIf) -> None:
    wide, narrow = effects(found.outcomes, 5.0), effects(found.outcomes)
    told = narrow["q95"] > narrow["q05"]
    ratio = ((wide["high"] - wide["low"]) / (narrow["high"] - narrow["low"]))[told]
    assert len(ratio) > 3
    np.testing.assert_allclose(ratio, 2.0, rtol=1e-6)
    same = effects(pd.concat([found.outcomes[found.outcomes["arm"] == "without"].assign(arm=a)
                              for a in ("without", "with")])).set_index("outcome")  # fmt: skip
    assert same.loc["icans_3", ["low", "high"]].tolist() == pytest.approx([-3 / 20, 3 / 20])  # rule of three
    assert same.loc["icu_days", ["low", "high"]].tolist() == [0.0, 0.0]


def test_the_window_has_every_start(found: WhatIf) -> None:
    assert found.window["after_h"].unique().tolist() == [48.0]
    columns = {"after_h": [0.0, 24.0, 48.0, 96.0], "outcome": "days_icans_ge2", "low": -3.0}
    table = pd.DataFrame(columns | {"difference": [-2.0, -1.5, -0.5, -1.2], "high": [-1.0, -0.5, 0.1, -0.1]})
    assert last_useful_h(table) == 24.0
    assert last_useful_h(table.assign(high=1.0)) is None
    assert last_useful_h(table.assign(high=[1.0, -0.5, 0.1, -0.1])) == 24.0


def test_therapy_begins_at_the_landmark() -> None:
    care = strategy("present")
    made = therapy_from(strategy("anakinra_prophylaxis"), care, 100.0)
    assert [d.time_h for d in made.doses] == [100.0]
    assert made.rules == care.rules
    late = therapy_from(strategy("anakinra_upon_ferritin"), care, 100.0)
    assert [r.from_h for r in late.rules] == [0.0, 0.0, 100.0]


def test_refusals(draws: Draws) -> None:
    care = strategy("present")
    with pytest.raises(ModelError, match="hours from 96 on"):
        what_if(draws, strategy("dexamethasone_prophylaxis"), care, start_h=24.0)
    with pytest.raises(ModelError, match="adds to the care"):
        what_if(draws, care, care)
    with pytest.raises(ModelError, match="cells have been given"):
        what_if(draws, strategy("fractionated"), care)
    cohort = demo_cohort(12, seed=5)
    with pytest.raises(DataError, match="a patient of the cohort"):
        library_draws(cohort, "nobody", 96.0)


def test_hypothetical_is_told_aloud(draws: Draws, found: WhatIf) -> None:
    from icans.report.whatif import WhatIfPage, render_whatif

    mine = strategy_of("mine", {"source": "x", "hypothetical": True, "doses": [
        {"time_h": 0, "drug": "dexamethasone", "amount": 10, "unit": "mg"}]})  # fmt: skip
    loud = replace(found, therapy=replace(found.therapy, hypothetical=mine.hypothetical))
    page = render_whatif(WhatIfPage("patient", loud))
    assert "HYPOTHETICAL: no patient has been treated so" in page
    assert "SYNTHETIC DATA" in page
    assert "draws, worth" in page
    assert not found.hypothetical


def test_the_same_from_a_population_fit() -> None:
    from icans.intervene.whatif.fitted import what_if_fitted
    from icans.population.fit.result import Fit, RandomEffects
    from icans.population.nlme.compartments import compartment_model
    from icans.population.nlme.likelihood import bind
    from icans.population.nlme.model import Individual, nlme_model
    from icans.population.nlme.observed import Observation
    from icans.population.nlme.population import start
    from icans.population.nlme.records import Administration, Subject, make_records
    from icans.population.nlme.simulating import simulated_records
    from icans.population.posterior.individual import individual_posterior

    model = nlme_model(compartment_model(1), [Individual("CL", 1.0, iiv=0.3), Individual("V", 10.0, iiv=0.3)],
                       [Observation("conc", "central", "lognormal", 0.2)])  # fmt: skip
    rows = pd.DataFrame([(float(t), "conc", 1.0) for t in (1, 4, 8)], columns=["time_h", "observable", "value"])
    design = make_records([Subject("a", rows, (Administration(0.0, 100.0),))])
    records = simulated_records(bind(model, design), start(model), seed=1)
    none = RandomEffects(np.zeros((1, 2)), np.zeros((1, 2, 2)))
    fit = Fit(model, "declared", start(model), 0.0, "none", records.ids, 0, none)
    posterior = individual_posterior(fit, records, 8.0, seed=1, draws=64)
    pair = what_if_fitted(fit, posterior, records, [12.0, 24.0], [Administration(10.0, 50.0)], seed=1)
    table = pair.table()
    assert (table["difference"] > 0).all()
    assert (table["q05"] <= table["difference"]).all()
    assert (table["difference"] <= table["q95"]).all()
    assert table["draws"].iloc[0] == pytest.approx(posterior.effective[0])
