"""Real data sets of pharmacometrics (nlmixr2data) read as cohorts: their published counts and sums.

Counts: theophylline 12 subjects (Boeckmann, Sheiner, Beal 1994), warfarin 32 subjects with concentration and
PCA (O'Reilly 1963/1968), phenobarbital 59 neonates (Grasela, Donn 1985).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from icans.cohort.folder import read_folder, write_folder
from icans.cohort.nonmem import Dosed, NonmemOptions, Observed, read_nonmem, write_nonmem
from icans.cohort.vocabulary import Analyte
from icans.core.errors import DataError


def extra(name: str, unit: str = "mg/L") -> dict[str, Analyte]:
    return {name: Analyte(name, name, unit, 0, 1e6, "plasma", "drug", True)}


THEOPHYLLINE = NonmemOptions(
    Observed("theophylline", "mg/L"), Dosed("theophylline", "mg", "po"), covariates={"WT": "weight"}, classic_evid=True,
    extra_analytes=extra("theophylline"),
)  # fmt: skip
WARFARIN = NonmemOptions(
    {"cp": Observed("warfarin", "mg/L"), "pca": Observed("pca", "%")}, Dosed("warfarin", "mg", "po"),
    covariates={"wt": "weight", "age": "patients.age_y", "sex": "patients.sex"},
    extra_analytes=extra("warfarin") | extra("pca", "%"),
)  # fmt: skip
PHENOBARBITAL = NonmemOptions(
    Observed("phenobarbital", "mg/L"), Dosed("phenobarbital", "mg", "iv"), covariates={"WT": "weight", "APGR": "apgar"},
    extra_analytes=extra("phenobarbital") | extra("apgar", "{score}"),
)  # fmt: skip
SETS = {"theo_md": THEOPHYLLINE, "theo_sd": THEOPHYLLINE, "warfarin": WARFARIN, "pheno_sd": PHENOBARBITAL}


@pytest.mark.parametrize(("name", "patients"), [("theo_md", 12), ("theo_sd", 12), ("warfarin", 32), ("pheno_sd", 59)])
def test_counts_and_sums_agree_with_the_file(data_folder, name, patients):
    path = data_folder / "nlmixr2data" / f"{name}.csv"
    cohort = read_nonmem(path, SETS[name])
    raw = pd.read_csv(path)
    raw.columns = raw.columns.str.upper()
    observed = raw["EVID"].eq(0) & raw.get("MDV", pd.Series(0, index=raw.index)).eq(0)
    assert len(cohort) == patients
    mine = cohort.measurements[cohort.measurements["method"].isna()]
    assert len(mine) == observed.sum()
    np.testing.assert_allclose(mine["value"].sum(), raw.loc[observed, "DV"].sum(), rtol=1e-12)
    np.testing.assert_allclose(cohort.treatments["amount"].sum(), raw["AMT"].sum(), rtol=1e-12)
    weights = cohort.measurements[cohort.measurements["analyte"] == "weight"]
    assert len(weights) >= patients
    assert set(weights["value"]) == set(raw["WT"])


@pytest.mark.parametrize("name", SETS)
def test_written_and_read_again(data_folder, tmp_path, name):
    options = SETS[name]
    cohort = read_nonmem(data_folder / "nlmixr2data" / f"{name}.csv", options)
    left = write_nonmem(cohort, tmp_path / f"{name}.csv", options)
    assert left == {}
    back = read_nonmem(tmp_path / f"{name}.csv", dataclasses.replace(options, classic_evid=False))
    write_folder(cohort, tmp_path / "folder", extra_analytes=options.extra_analytes)
    folder = read_folder(tmp_path / "folder")
    for table in ("patients", "measurements", "treatments"):
        pd.testing.assert_frame_equal(cohort.table(table), back.table(table), check_exact=True)
        pd.testing.assert_frame_equal(cohort.table(table), folder.table(table), check_exact=True)
    pd.testing.assert_frame_equal(cohort.changes, folder.changes)


def test_steady_state_of_the_simulated_set_is_refused_with_the_reason(data_folder):
    options = NonmemOptions(
        Observed("drug", "mg/L"), Dosed("drug", "mg", "po"), ignore=("LNDV", "DOSE", "V", "CL", "KA", "SD"),
        extra_analytes=extra("drug"),
    )  # fmt: skip
    with pytest.raises(DataError) as caught:
        read_nonmem(data_folder / "nlmixr2data" / "Oral_1CPT.csv", options)
    assert {p.column for p in caught.value.problems} == {"SS"}
