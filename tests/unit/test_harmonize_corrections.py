"""Declared units, duplicates, precision, assay factors, batch correction and pooling against closed forms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from icans.cohort import schema
from icans.cohort.cohort import make
from icans.core.errors import NotEstimableError, NotFittedError, UnseenBatchError
from icans.harmonize.assay_scale import AssayScale
from icans.harmonize.batch import ComBat, Prior, posterior
from icans.harmonize.pipeline import HarmonizeSettings, harmonize
from icans.harmonize.pooling import pool
from icans.harmonize.precision import common_precision, decimals, grid
from icans.harmonize.units import convert_declared


def rows(*records: tuple, **columns: object) -> pd.DataFrame:
    """Measurements from (patient, hours, analyte, value, unit)."""
    frame = pd.DataFrame(records, columns=["patient_id", "time_h", "analyte", "value", "unit"]).assign(**columns)
    return schema.MEASUREMENTS.shape_up(frame).assign(censor=lambda d: d["censor"].fillna("none"))


def test_declared_units_are_converted_with_their_limits_and_recorded_once_per_unit():
    table = rows(("a", 0, "crp", 2.5, "mg/dL"), ("a", 24, "crp", 0.3, "mg/dL"), ("b", 0, "crp", 12.0, "mg/L"))
    table["limit"] = [np.nan, 0.3, np.nan]
    done = convert_declared(table)
    assert done.table["value"].tolist() == [25.0, 3.0, 12.0]
    assert done.table["limit"].iloc[1] == 3.0
    assert set(done.table["unit"]) == {"mg/L"}
    assert done.changes[["rule", "old", "new", "rows"]].values.tolist() == [["unit.declared", "mg/dL", "mg/L", 2]]


def test_creatinine_and_temperature_convert_through_moles_and_an_offset():
    done = convert_declared(rows(("a", 0, "creatinine", 88.4, "umol/L"), ("a", 0, "temperature", 98.6, "F")))
    np.testing.assert_allclose(done.table["value"], [1.0, 37.0], rtol=1e-3)


def test_ddu_is_proposed_and_only_applied_when_the_factor_is_given():
    table = rows(("a", 0, "d_dimer", 1.0, "mg/L DDU"))
    left = convert_declared(table)
    assert left.table["value"].tolist() == [1.0]
    assert left.findings["kind"].tolist() == ["unit.ddu"]
    assert left.findings["factor"].tolist() == [2.0]
    done = convert_declared(table, ddu_factor=1.9)
    assert done.table["value"].tolist() == [1.9]
    assert done.changes["rule"].tolist() == ["unit.ddu"]


def test_units_that_do_not_fit_and_unknown_analytes_are_findings_not_failures():
    done = convert_declared(rows(("a", 0, "crp", 1.0, "mmol/L"), ("a", 0, "nonsense", 1.0, "mg/L")))
    assert sorted(done.findings["kind"]) == ["analyte.unknown", "unit.unconvertible"]
    assert done.table["value"].tolist() == [1.0, 1.0]


def test_duplicates_are_removed_merged_or_kept_and_reported():
    table = rows(
        ("a", 0, "crp", 10.0, "mg/L"), ("a", 0, "crp", 10.0, "mg/L"),
        ("a", 24, "crp", 100.0, "mg/L"), ("a", 24, "crp", 100.4, "mg/L"),
        ("b", 0, "crp", 10.0, "mg/L"), ("b", 0, "crp", 30.0, "mg/L"),
    )  # fmt: skip
    cohort = make("t", {"patients": pd.DataFrame({"patient_id": ["a", "b"]}), "measurements": table})
    result = harmonize(cohort)
    assert result.cohort.measurements["value"].tolist() == [10.0, 100.2, 10.0, 30.0]
    assert {"duplicate.exact", "duplicate.median"} <= set(result.cohort.changes["rule"])
    assert "duplicate.conflict" in set(result.findings["kind"])


def test_an_empty_cohort_and_bad_settings():
    result = harmonize(make("empty", {"patients": pd.DataFrame({"patient_id": ["a"]})}))
    assert len(result.findings) == 0
    assert len(result.regimes) == 0
    with pytest.raises(ValueError, match="two_series"):
        HarmonizeSettings(two_series="merge")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="apply"):
        HarmonizeSettings(apply=0.2)


def test_decimals_and_grids():
    assert decimals([3.0, 0.5, 1.25, 1 / 3]).tolist() == [0, 1, 2, 4]
    assert grid([100.0, 250.0, 300.0]) == 50.0
    assert grid([0.1, 0.2, 0.7]) == pytest.approx(0.1)
    table = rows(*[("a", h, "crp", v, "mg/L") for h, v in enumerate([1.0, 2.0, 3.25, 4.75])])
    table["batch"] = ["x", "x", "y", "y"]
    found = common_precision(table).set_index("batch")
    assert found["decimals"].to_dict() == {"x": 0, "y": 2}
    assert found["differs"].all()


def assays(seed: int = 1, factor: float = 1.6, patients: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    level = np.exp(rng.normal(3, 1, patients))
    a = pd.DataFrame({"patient_id": [f"p{k}" for k in range(patients)], "assay": "A", "value": level})
    b = a.assign(assay="B", value=factor * level)
    both = pd.concat([a, b]).assign(time_h=0.0, analyte="il_6", unit="pg/mL")
    both["value"] *= np.exp(rng.normal(0, 0.1, len(both)))
    frame = schema.MEASUREMENTS.shape_up(both)
    return frame.assign(censor="none")


def test_assay_factors_are_recovered_applied_and_refused_where_unknown():
    table = assays()
    scale = AssayScale(reference={"il_6": "A"}).fit(table)
    line = scale.factors.set_index("assay").loc["B"]
    assert line["factor"] == pytest.approx(1.6, rel=0.05)
    assert abs(np.log(line["factor"] / 1.6)) < 3 * line["se_log"]
    done, changes = scale.transform(table)
    wide = done.pivot(index="patient_id", columns="assay", values="value")
    assert abs(np.log(wide["B"] / wide["A"]).mean()) < 1e-9
    assert changes["rule"].tolist() == ["assay.scaled"]
    with pytest.raises(NotFittedError, match="no factor"):
        scale.transform(table.assign(assay="C"))
    with pytest.raises(NotEstimableError, match="supply their factors"):
        AssayScale().fit(table[(table["assay"] == "A") == (table["patient_id"] < "p3")])
    given = AssayScale.supplied(pd.DataFrame({"analyte": ["il_6"], "assay": ["B"], "factor": [2.0]}), "identity")
    assert given.transform(table[table["assay"] == "B"])[0]["value"].sum() == pytest.approx(
        table.loc[table["assay"] == "B", "value"].sum() / 2
    )


def batches(seed: int = 0, n: int = 90, features: int = 30) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    batch = np.array(["a", "b", "c"])[np.arange(n) % 3]
    x = rng.normal(size=n)
    truth = rng.normal(5, 2, features) + np.outer(x, rng.normal(0, 1, features)) + rng.normal(size=(n, features))
    shift = {k: rng.normal(m, 0.5, features) for k, m in zip("abc", (0.0, 2.0, -1.0), strict=True)}
    stretch = {"a": 1.0, "b": 2.0, "c": 0.5}
    noisy = np.stack(
        [truth[i] * 1.0 + shift[b] + (stretch[b] - 1) * rng.normal(size=features) for i, b in enumerate(batch)]
    )
    return noisy, batch, x


def test_combat_removes_batches_and_keeps_covariates():
    y, batch, x = batches()
    done = ComBat().fit(y, batch, x)
    out = done.transform(y, batch, x)
    assert np.abs([out[batch == b].mean(0) - out.mean(0) for b in "abc"]).mean() < 0.2
    slope = [np.polyfit(x, v[:, 0], 1)[0] for v in (y, out)]
    assert slope[1] == pytest.approx(done.fitted.effects[0, 0], abs=0.15)


def test_combat_without_shrinkage_is_the_closed_form():
    y, batch, _ = batches()
    out = ComBat(shrink=False).fit(y, batch).transform(y, batch)
    centre = np.mean([y[batch == b].mean(0) for b in "abc"], axis=0)
    pooled = np.sqrt(np.mean([((y[batch == b] - y[batch == b].mean(0)) ** 2).mean(0) for b in "abc"], axis=0))
    for b in "abc":
        part = y[batch == b]
        expected = (part - part.mean(0)) / part.std(0, ddof=1) * pooled + centre
        np.testing.assert_allclose(out[batch == b], expected, rtol=1e-9)


def test_posterior_satisfies_its_two_equations_and_its_limits():
    rng = np.random.default_rng(2)
    part = rng.normal(1.0, 2.0, (12, 6))
    prior = Prior(0.3, 0.5, 4.0, 6.0)
    g, d = posterior(part, prior)
    np.testing.assert_allclose(g, (12 * 0.5 * part.mean(0) + d * 0.3) / (12 * 0.5 + d), rtol=1e-4)
    np.testing.assert_allclose(d, (6.0 + 0.5 * ((part - g) ** 2).sum(0)) / (6.0 + 4.0 - 1.0), rtol=1e-4)
    wide, _ = posterior(part, Prior(0.3, 1e9, 4.0, 6.0))
    np.testing.assert_allclose(wide, part.mean(0), rtol=1e-6)
    tight, _ = posterior(part, Prior(0.3, 1e-9, 4.0, 6.0))
    np.testing.assert_allclose(tight, 0.3, atol=1e-6)


def test_combat_reference_missing_values_and_unseen_batches():
    y, batch, _ = batches()
    holes = y.copy()
    holes[::7, 3] = np.nan
    reference = ComBat(reference_batch="a").fit(holes, batch)
    out = reference.transform(holes, batch)
    np.testing.assert_array_equal(out[batch == "a"], holes[batch == "a"])
    np.testing.assert_array_equal(np.isnan(out), np.isnan(holes))
    fresh = y[batch == "b"] + 1.0
    names = np.full(len(fresh), "new")
    with pytest.raises(UnseenBatchError, match="'new'"):
        reference.transform(fresh, names)
    same = ComBat(unseen="identity").fit(y, batch).transform(fresh, names)
    np.testing.assert_array_equal(same, fresh)
    shrunk = ComBat(unseen="shrink").fit(y, batch).transform(fresh, names)
    assert np.abs(shrunk.mean(0) - y.mean(0)).mean() < np.abs(fresh.mean(0) - y.mean(0)).mean() / 3
    with pytest.raises(NotEstimableError, match="confounded"):
        ComBat().fit(y, batch, (batch == "a").astype(float))
    with pytest.raises(NotFittedError):
        ComBat().transform(y, batch)


def test_rubin_the_published_example_of_five_imputations_and_ten_percent():
    """SAS/STAT documentation of PROC MI: five imputations and r = 10 % give 484 degrees of freedom."""
    between = 0.1 / 1.2
    points = np.sqrt(between) * np.array([-1, -1, 0, 1, 1]) / np.std([-1, -1, 0, 1, 1], ddof=1)
    pooled = pool(points, np.ones(5))
    assert pooled.relative_increase == pytest.approx(0.1)
    assert pooled.df == pytest.approx(484.0)
    assert pooled.fraction_missing == pytest.approx((0.1 + 2 / 487) / 1.1)
    small = pool(points, np.ones(5), complete_df=20)
    observed = 21 / 23 * 20 * (1 - 0.1 / 1.1)
    assert small.df == pytest.approx(1 / (1 / 484 + 1 / observed))
    assert small.df < 20


def test_pooling_identical_estimates_and_refusals():
    pooled = pool([2.0, 2.0, 2.0], [4.0, 4.0, 4.0])
    low, high = pooled.interval()
    assert (low, high) == (pytest.approx(2 - 1.959964 * 2), pytest.approx(2 + 1.959964 * 2))
    assert pool([2.0, 2.0], [4.0, 4.0], complete_df=10).df == pytest.approx(11 / 13 * 10)
    for bad in (([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, 2.0], [1.0, -1.0])):
        with pytest.raises(ValueError, match="variances"):
            pool(*bad)
