"""Virtual populations, supportive care, studies, the stored calibration, and the levers on a few patients."""

from __future__ import annotations

import json

import numpy as np
import pytest

from icans.core.errors import ModelError
from icans.population import artefact, calibrate, care, clinic, levers, products, studies
from icans.population.arms import Key, run
from icans.population.targets import read_targets
from icans.population.virtual import virtual_population


class TestVirtualPopulation:
    def test_patients_have_parameters_covariates_doses_and_equal_weights(self):
        made = virtual_population(20, "axi-cel", "LBCL", seed=3)
        assert len(made.parameters) == len(made.covariates) == len(made.doses) == 20
        assert made.weights == pytest.approx(np.full(20, 0.05))
        assert made.ess == pytest.approx(1.0)
        assert made.provenance["synthetic"] is True
        assert made.doses[0][0].drug == "car_t"
        assert made.doses[0][0].amount == pytest.approx(made.covariates["cells"][0])

    def test_patient_i_is_the_same_whatever_n_is(self):
        few, many = virtual_population(3, "brexu-cel", "MCL", 5), virtual_population(30, "brexu-cel", "MCL", 5)
        assert few.parameters.equals(many.parameters.iloc[:3])

    def test_a_study_has_weights_of_its_own_and_its_treated_arm_inherits_them(self):
        one = virtual_population(200, "axi-cel", "LBCL", 5, study_name="ZUMA-1")
        two = virtual_population(200, "axi-cel", "LBCL", 5, study_name="ZUMA-1 cohort 3", regimen="tocilizumab day 2")
        assert one.weights == pytest.approx(two.weights)
        assert 0.1 < one.ess < 1
        assert {d.drug for d in two.doses[0]} == {"car_t", "tocilizumab"}
        assert len(set(one.resample(50, 1))) > 10

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"n": 0}, "at least 1"), ({"product": "axicel"}, "Did you mean"), ({"disease": "LBLC"}, "Did you mean"),
            ({"study_name": "ZUMA1"}, "ZUMA-1"), ({"regimen": "tocilizumab day2"}, "tocilizumab day 2"),
        ],
    )  # fmt: skip
    def test_bad_input(self, change, words):
        given = {"n": 5, "product": "axi-cel", "disease": "LBCL", **change}
        with pytest.raises(ModelError, match=words):
            virtual_population(**given)


class TestCare:
    def test_level_of_grades(self):
        assert care.level_of_grade((0.5, 1.5, 2.5), 2) == 1.5
        assert care.level_of_grade((0.5, 1.5, 2.5), 1.5) == 1.0

    def test_prophylaxis_is_dosed_by_weight_up_to_the_most(self):
        patients = products.draw_patients(2, "axi-cel", "LBCL", 1).assign(weight_kg=[60.0, 120.0])
        doses = care.given(patients, "tocilizumab day 2")
        assert [d[1].amount for d in doses] == [480.0, 800.0]

    def test_parts_of_a_dose_add_up(self):
        patients = products.draw_patients(1, "tisa-cel", "aALL", 1)
        parts = care.given(patients, "fractionated")[0]
        assert sum(d.amount for d in parts) == pytest.approx(patients["cells"][0])

    def test_unknown_era(self):
        with pytest.raises(ModelError, match="modern"):
            care.triggers("moderm", (1, 2, 3, 4, 5), (1, 2, 3, 4, 5), typical_kg=70)


class TestStored:
    def test_it_is_small_synthetic_and_says_how_it_is_made(self):
        document = json.loads(artefact.stored().read_text(encoding="utf-8"))
        assert document["synthetic"] is True
        assert document["about"]["command"].startswith(artefact.COMMAND)
        assert artefact.stored().stat().st_size < 50_000
        assert tuple(document["axes"]) == studies.axis_names()

    def test_only_studies_with_calibrate_rows_have_weights(self):
        rows = calibrate.rows_by_study(read_targets("calibrate"))
        for name in artefact.read().tilts:
            assert studies.study(name).free
            assert name in rows

    def test_studies_to_validate_are_not_weighted(self):
        only = {t.study for t in read_targets("validate")} - {t.study for t in read_targets("calibrate")}
        assert not only & set(artefact.read().tilts)
        for name in only:
            like = studies.study(name).like
            assert not studies.study(name).free
            assert not like or like not in only

    def test_cuts_rise(self):
        now = artefact.read().readings
        for scheme in (*now.crs.values(), *now.nt.values()):
            assert list(scheme.cuts) == sorted(scheme.cuts)

    def test_every_target_has_a_study_with_arms(self):
        for target in read_targets():
            assert sum(share for _, share in studies.study(target.study).arms) == pytest.approx(1.0)

    def test_reasons_are_given_for_rows_that_exist(self):
        known = {t.id for t in read_targets()} | {t.study for t in read_targets()}
        assert set(clinic.reasons()) <= known


@pytest.fixture(scope="module")
def effects():
    """Every lever on the same 120 patients."""
    return levers.effects_of_levers(calibrate.Bench(120, 7, rtol=1e-3), artefact.read())


class TestLevers:
    def test_signs(self, effects):
        wrong = [f"{e.lever}: {e.quantity} {e.before:.2f} -> {e.after:.2f}, expected {e.expected}" for e in effects
                 if not e.right and abs(e.after - e.before) > 1.0]  # fmt: skip
        assert wrong == []

    @pytest.mark.parametrize(
        ("lever", "quantity"),
        [
            ("tocilizumab on day 2", "peak IL6"), ("tocilizumab on day 2", "peak CRP"),
            ("tocilizumab on day 2", "inc crs>=3"), ("dexamethasone on days 0 to 2", "begin crs"),
            ("dexamethasone on days 0 to 2", "inc nt>=3"), ("anakinra on days 0 to 7", "inc nt>=3"),
            ("CD28 against 4-1BB", "inc nt>=3"), ("lenzilumab", "inc nt>=3"),
            ("three times the tumour burden", "inc crs>=2"), ("without fludarabine", "peak car_blood"),
            ("bendamustine before", "peak car_blood"), ("defibrotide", "inc nt>=1"),
        ],
    )  # fmt: skip
    def test_a_lever_moves_the_way_that_trials_report(self, effects, lever, quantity):
        found = next(e for e in effects if (e.lever, e.quantity) == (lever, quantity))
        assert found.right, f"{found.before:.2f} -> {found.after:.2f}"

    def test_more_patients_leave_the_first_as_they_are(self):
        known = artefact.read()
        few, many = (run(Key("axi-cel", "LBCL", "modern"), n, 7, known.factors, known.readings) for n in (8, 16))
        np.testing.assert_array_equal(few.series["encephalopathy"], many.series["encephalopathy"][:8])
