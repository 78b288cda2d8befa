"""A fit as NONMEM-like files: read back by whitespace, columns as in a NONMEM run, numbers as in the fit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import nlme_cases
from icans.exchange.nonmem_out import parameter_table, write_nonmem_tables
from icans.population.fit.result import Fit, RandomEffects
from icans.population.nlme.population import packing, start


def read(path):
    """As readers of NONMEM output do: a title, a header, numbers apart by blanks."""
    return pd.read_csv(path, sep=r"\s+", skiprows=1)


def made_up(model, records, seed=1):
    """A fit object with made-up (synthetic) effects and covariance around the model's starts."""
    rng, population = np.random.default_rng(seed), start(model)
    size, d = len(packing(model)), len(model.varying)
    root = 0.1 * rng.normal(size=(size, size))
    effects = RandomEffects(0.1 * rng.normal(size=(len(records), d)), np.tile(0.01 * np.eye(d), (len(records), 1, 1)))
    return Fit(model, "focei", population, -100.0, "focei", records.ids, 140, effects, root @ root.T, "made up")


@pytest.fixture
def fit_and_records():
    model, records = nlme_cases.synthetic_oral(6, correlated=True, covariate=True)
    return made_up(model, records), records


def test_estimates_and_their_errors_come_back(fit_and_records, tmp_path):
    fit, records = fit_and_records
    write_nonmem_tables(fit, tmp_path, records)
    ext = read(tmp_path / "icans.ext").set_index("ITERATION")
    final = ext.loc[-1000000000]
    np.testing.assert_allclose(final[["THETA1", "THETA2", "THETA3", "THETA4"]], [2.0, 20.0, 1.0, 0.75], rtol=1e-5)
    np.testing.assert_allclose(final[["SIGMA(1,1)", "SIGMA(2,2)"]], [0.01, 0.01], rtol=1e-5)
    np.testing.assert_allclose(final[["OMEGA(1,1)", "OMEGA(2,2)", "OMEGA(3,3)"]], [0.09, 0.04, 0.16], rtol=1e-5)
    assert final["OBJ"] == pytest.approx(fit.objective_nonmem, abs=1e-9)
    table = fit.table().set_index("name")
    errors = ext.loc[-1000000001]
    assert errors["THETA2"] == pytest.approx(table.loc["V", "se"], rel=1e-4)
    # variance: derivative of the square
    assert errors["OMEGA(2,2)"] == pytest.approx(2 * 0.2 * table.loc["omega V", "se"], rel=1e-4)
    assert errors["SIGMA(1,1)"] == pytest.approx(2 * 0.1 * table.loc["cp a", "se"], rel=1e-4)
    fixed = ext.loc[-1000000006]
    assert (fixed["OMEGA(3,1)"], fixed["OMEGA(2,1)"], fixed["THETA1"]) == (1.0, 0.0, 0.0)
    assert ext.loc[-1000000004, "OMEGA(3,3)"] == pytest.approx(0.4, rel=1e-5)


def test_covariance_correlation_and_effects_come_back(fit_and_records, tmp_path):
    fit, records = fit_and_records
    write_nonmem_tables(fit, tmp_path, records, name="run1", objectives=range(len(records)))
    ext = read(tmp_path / "run1.ext").set_index("ITERATION").loc[-1000000001].drop("OBJ")
    cov, cor = (read(tmp_path / f"run1.{kind}").set_index("NAME") for kind in ("cov", "cor"))
    assert list(cov.columns) == list(cov.index) == list(ext.index)
    estimated = ext.to_numpy() < 1e10
    np.testing.assert_allclose(np.sqrt(np.diag(cov))[estimated], ext[estimated], rtol=1e-4)
    np.testing.assert_allclose(np.diag(cor)[estimated], ext[estimated], rtol=1e-4)
    phi = read(tmp_path / "run1.phi")
    assert list(phi.columns[:5]) == ["SUBJECT_NO", "ID", "ETA(1)", "ETA(2)", "ETA(3)"]
    np.testing.assert_allclose(phi[["ETA(1)", "ETA(2)", "ETA(3)"]], fit.effects.mode, rtol=1e-4)
    np.testing.assert_allclose(phi[["ETC(1,1)", "ETC(2,1)", "ETC(3,3)"]], [[0.01, 0.0, 0.01]] * 6, rtol=1e-5)
    assert phi["OBJ"].tolist() == list(range(6))


def test_the_table_of_observations(fit_and_records, tmp_path):
    fit, records = fit_and_records
    write_nonmem_tables(fit, tmp_path, records)
    table = read(tmp_path / "sdtab")
    assert len(table) == len(records.frame())
    np.testing.assert_allclose(table["DV"] - table["IPRED"], table["IRES"], atol=2e-4)
    assert set(table["ID"]) == {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}


def test_nothing_is_written_that_the_fit_does_not_have(fit_and_records, tmp_path):
    fit, _ = fit_and_records
    files = {p.name for p in write_nonmem_tables(fit.with_covariance(None, ""), tmp_path)}
    assert files == {"icans.ext", "icans.phi", "icans_names.csv", "icans_parameters.csv"}
    assert -1000000001 not in set(read(tmp_path / "icans.ext")["ITERATION"])
    assert "OBJ" not in read(tmp_path / "icans.phi")


def test_the_parameter_table_is_nlmixrs(fit_and_records):
    table = parameter_table(fit_and_records[0]).set_index("Parameter")
    assert table.loc["V", "Est."] == pytest.approx(np.log(20.0))
    assert table.loc["V", "Back-transformed"] == pytest.approx(20.0)
    assert table.loc["V", "BSV(CV%)"] == pytest.approx(100.0 * np.sqrt(np.exp(0.04) - 1.0))
    half = 1.959963984540054 * table.loc["V", "SE"]
    assert table.loc["V", "CI Upper"] == pytest.approx(20.0 * np.exp(half))
    assert {"cp a", "cp b", "WT on CL"} <= set(table.index)


def test_columns_are_those_of_a_nonmem_run(data_folder, tmp_path):
    """Phenobarbital as NONMEM 7.5.1 wrote it (pharmpy's example): same columns but for one theta that is an omega's."""
    model, records = nlme_cases.phenobarbital(data_folder)
    write_nonmem_tables(made_up(model, records), tmp_path, name="pheno", objectives=np.zeros(len(records)))
    folder = data_folder / "pharmpy_pheno_moxo"
    for kind in ("ext", "phi", "cov"):
        ours, theirs = read(tmp_path / f"pheno.{kind}"), read(folder / f"pheno.{kind}")
        extra = set(ours.columns) - set(theirs.columns)
        # Weight on CL and on V are fixed effects here, and code in NONMEM's control stream.
        assert extra <= {"THETA4", "THETA5"}
        assert set(theirs.columns) <= set(ours.columns)
    shared = {-1000000000, -1000000001, -1000000004, -1000000006}
    for path in (tmp_path / "pheno.ext", folder / "pheno.ext"):
        assert shared <= set(read(path)["ITERATION"])
    fixed = read(tmp_path / "pheno.ext").set_index("ITERATION").loc[-1000000006]
    assert fixed[["THETA3", "THETA4", "THETA5", "OMEGA(2,1)"]].tolist() == [1.0, 1.0, 0.0, 1.0]
