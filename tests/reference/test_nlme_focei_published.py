"""First-order fits against NONMEM's published outputs, nlmixr2's tests and R nlme (rows of the benchmark's table)."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import reference_fits_focei as reference


def checked(fill, folder):
    table = reference.Table()
    fill(folder, table)
    frame = table.frame()
    assert len(frame)
    outside = frame[~frame["inside"]]
    assert outside.empty, outside.to_string()
    return frame


def test_phenobarbital_is_nonmem_s(data_folder):
    frame = checked(reference.phenobarbital_rows, data_folder).set_index("quantity")
    assert abs(frame.loc["objective", "difference"]) < 1e-4
    assert frame.filter(like="SE ", axis=0)["difference"].abs().max() < 1.0


def test_theophylline_is_nlmixr2_s(data_folder):
    checked(reference.theophylline_rows, data_folder)


def test_wang_objectives_of_three_methods_and_five_errors(data_folder):
    assert len(checked(reference.wang_rows, data_folder)) == 17


@pytest.mark.parametrize("fill", [reference.nlme_phenobarb_rows, reference.nlme_theoph_rows])
def test_r_nlme(data_folder, fill):
    checked(fill, data_folder)


def test_oral_sets_are_nonmem_s(data_folder, monkeypatch):
    monkeypatch.setattr(reference, "ORAL", {k: v for k, v in reference.ORAL.items() if v[1] == "single"})
    frame = checked(reference.oral_rows, data_folder)
    assert frame.loc[frame["quantity"] == "objective", "difference"].abs().max() < 0.01


def test_censored_wang_laplace_and_focei_agree(data_folder):
    """With half of the values below the limit (M3), both approximations find the same error SD and ke."""
    from icans.population.fit.focei import FoceiSettings, fit_focei, fit_laplace
    from nlme_cases import wang2007

    model, records = wang2007(data_folder, below=6.0)
    assert (records.frame()["censor"] == "left").sum() >= 3
    plain = FoceiSettings(covariance="none")
    one, two = fit_focei(model, records, settings=plain), fit_laplace(model, records, settings=plain)
    a, b = (f.table().set_index("name")["value"] for f in (one, two))
    assert a["y b"] == pytest.approx(b["y b"], rel=0.05)
    assert a["ke"] == pytest.approx(b["ke"], rel=0.05)


def test_a_variance_that_collapsed_on_the_way_is_found_again(data_folder):
    """From an error SD ten times too large, the SD of ke goes to 0 first; the lowest objective has it at 0.28."""
    from icans.population.fit.multistart import multi_start
    from nlme_cases import wang2007

    got = multi_start(*wang2007(data_folder), starts=4, seed=1)
    assert (got.starts["optimum"] == 1).all()
    assert got.best.population.omega[0, 0] ** 0.5 == pytest.approx(0.2817, rel=0.01)
    assert got.best.objective_nonmem == pytest.approx(-4.340, abs=0.01)
