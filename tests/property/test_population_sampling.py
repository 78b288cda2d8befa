"""Sampling: bounds, repeatability, correlations, effects of covariates, bad input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icans.core.errors import ModelError
from icans.mechanism.parameters import read_parameters
from icans.population import covariates, products
from icans.population.sampling import check_tables, covariance, individuals, loadings

TABLE = read_parameters()
DISEASES = covariates.diseases()


def draw(n, product="axi-cel", disease="LBCL", seed=1, **more):
    return individuals(TABLE, products.draw_patients(n, product, disease, seed), seed, **more)


class TestTables:
    def test_they_name_parameters_of_the_model(self):
        assert check_tables(TABLE) == []

    def test_levers_and_limits(self):
        for lever in products.tables()["lever"].values():
            for name in lever["parameters"]:
                assert name in TABLE, name
        for path in products.free_levers():
            assert path.rpartition(".")[2] in products.tables()["lever"]

    def test_everything_has_a_source_and_a_status(self):
        for part in products.CHAIN:
            for name, entry in products.tables()[part].items():
                assert entry["source"], name
                assert entry["status"] in ("read", "computed", "recalled", "calibrated", "assumed"), name
        for disease in DISEASES:
            assert covariates.tables()[disease]["source"]

    def test_products_with_published_kinetics_have_no_free_factor(self):
        for name in ("brexu-cel", "liso-cel", "cilta-cel", "obe-cel"):
            assert "fit" not in products.tables()["product"][name]


class TestDraws:
    @settings(max_examples=12, deadline=None)
    @given(st.integers(0, 10_000), st.sampled_from(DISEASES), st.integers(1, 60))
    def test_values_are_within_bounds_and_patients_do_not_depend_on_n(self, seed, disease, n):
        few, many = draw(n, disease=disease, seed=seed), draw(60, disease=disease, seed=seed)
        for place, row in enumerate(TABLE.rows):
            assert (few.values[:, place] >= row.lower).all(), row.name
            assert (few.values[:, place] <= row.upper).all(), row.name
        np.testing.assert_array_equal(few.values, many.values[:n])
        pd.testing.assert_frame_equal(few.axes, many.axes.iloc[:n])

    @settings(max_examples=8, deadline=None)
    @given(st.integers(0, 10_000), st.sampled_from(DISEASES), st.integers(1, 59))
    def test_patients_in_the_middle_are_the_same_without_those_before(self, seed, disease, first):
        many = products.draw_patients(60, "axi-cel", disease, seed)
        some = products.draw_patients(61 - first, "axi-cel", disease, seed, first)
        pd.testing.assert_frame_equal(some, many.iloc[first - 1 :].reset_index(drop=True), check_exact=True)
        values = individuals(TABLE, some, seed, first=first)
        np.testing.assert_array_equal(values.values, individuals(TABLE, many, seed).values[first - 1 :])

    @settings(max_examples=10, deadline=None)
    @given(st.integers(0, 10_000), st.sampled_from(DISEASES))
    def test_covariates_are_within_limits(self, seed, disease):
        table = covariates.draw_covariates(80, disease, seed)
        for name, entry in covariates.distribution(disease)["numeric"].items():
            assert table[name].between(entry["low"], entry["high"]).all(), name
        assert not table.isna().any(axis=None)

    def test_a_new_parameter_leaves_the_others_as_they_were(self):
        whole = draw(20)
        part = individuals(TABLE.select(["il6_mye", "car_rho"]), products.draw_patients(20, "axi-cel", "LBCL", 1), 1)
        np.testing.assert_array_equal(part.frame()["il6_mye"], whole.frame()["il6_mye"])

    def test_typical_values_spread_and_shared_deviations(self):
        drawn = draw(20_000)
        kept = ["il6_mye", "il10_mye", "mye_activation", "ifng_car", "gmcsf_car", "car_rho"]
        frame = np.log(drawn.frame()[kept])
        for name in ("il6_mye", "il10_mye", "mye_activation"):
            assert frame[name].median() == pytest.approx(np.log(TABLE[name].value), abs=0.06)
            assert frame[name].std() == pytest.approx(TABLE[name].iiv, rel=0.06)
        for a, b in (("mye_activation", "il6_mye"), ("ifng_car", "gmcsf_car")):
            expected = sum(loadings(a).get(f, 0) * loadings(b).get(f, 0) for f in covariance()["factor"])
            assert frame[a].corr(frame[b]) == pytest.approx(expected, abs=0.04)
        share = covariance()["low_expander"]["share"]
        assert drawn.low_expander.mean() == pytest.approx(share, abs=0.01)
        ratio = frame["car_rho"][drawn.low_expander].median() - frame["car_rho"][~drawn.low_expander].median()
        assert ratio == pytest.approx(np.log(covariance()["low_expander"]["parameter"]["car_rho"]), abs=0.02)

    def test_redraws_are_counted(self):
        drawn = draw(20_000)
        assert drawn.redrawn["il6_mye"] > 0
        assert "il6_mye" not in drawn.clipped

    def test_ten_thousand_are_quick(self):
        import time

        start = time.process_time()
        draw(10_000)
        assert time.process_time() - start < 5


class TestEffects:
    def test_burden_is_the_tumour(self):
        patients = products.draw_patients(50, "axi-cel", "LBCL", 3)
        np.testing.assert_allclose(individuals(TABLE, patients, 3).frame()["tum_0"], patients["burden"])

    def test_bendamustine_lowers_growth_and_nothing_else(self):
        patients = products.draw_patients(50, "brexu-cel", "MCL", 3)
        with_, without = (individuals(TABLE, patients.assign(prior_bendamustine=b), 3).frame() for b in (True, False))
        changed = [c for c in with_ if not np.allclose(with_[c], without[c])]
        assert changed == ["car_rho"]
        assert (with_["car_rho"] < without["car_rho"]).all()

    def test_products_multiply(self):
        patients = products.draw_patients(10, "tisa-cel", "LBCL", 3)
        plain, other = individuals(TABLE, patients, 3), individuals(TABLE, patients, 3, {"car_priming": 0.5})
        np.testing.assert_allclose(other.frame()["car_priming"], 0.5 * plain.frame()["car_priming"])
        factors = products.multipliers("tisa-cel", "LBCL", {"costimulation.4-1BB.release": 0.25})
        assert factors["ifng_car"] == 0.25

    def test_dose(self):
        heavy = products.product("axi-cel").cells("LBCL", np.array([70.0, 140.0]))
        assert list(heavy) == [1.4e8, 2e8]
        assert products.product("brexu-cel").cells("aALL", np.array([70.0]))[0] == 0.7e8


class TestBadInput:
    def test_nan_in_a_covariate_is_refused_with_its_place(self):
        patients = products.draw_patients(5, "axi-cel", "LBCL", 1)
        patients.loc[2, "burden"] = np.nan
        with pytest.raises(ModelError, match="row 3, column 'burden'"):
            individuals(TABLE, patients, 1)

    def test_a_missing_covariate_is_refused(self):
        with pytest.raises(ModelError, match="burden"):
            individuals(TABLE, products.draw_patients(5, "axi-cel", "LBCL", 1).drop(columns="burden"), 1)

    @pytest.mark.parametrize(("product", "disease"), [("axi-cell", "LBCL"), ("axi-cel", "LBLC")])
    def test_unknown_names_have_neighbours(self, product, disease):
        with pytest.raises(ModelError, match="Did you mean"):
            products.draw_patients(5, product, disease, 1)
