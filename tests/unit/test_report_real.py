"""The descriptive sections on real public cohorts (skipped where the data are absent)."""

from __future__ import annotations

import pytest

from icans.datasets.loading import load
from icans.report.atlas import ALL, atlas
from icans.report.model import ReportData
from icans.report.outcomes import outcome_groups, worst_grade
from icans.report.render import render
from icans.report.tables import OVERALL, table_one

PARTS = ["glance", "patients", "quality", "grades", "atlas"]


@pytest.mark.parametrize("name", ["nulisa_cart_lbcl", "bwh_icans"])
def test_real_cohorts_are_described_and_called_real(data_folder, name):
    cohort = load(name, data_folder / name)
    html = render(ReportData(name, delivered=cohort), only=PARTS)
    assert "REAL PATIENT DATA" in html
    assert "SYNTHETIC" not in html
    table = table_one(cohort, by="outcome")
    sizes = table.drop_duplicates("group").set_index("group")["size"]
    assert sizes[OVERALL] == len(cohort) == sizes.drop(OVERALL).sum()
    assert outcome_groups(cohort).value_counts().sum() == len(cohort)


def test_undeclared_units_are_told_before_the_atlas(data_folder):
    cohort = load("bwh_icans", data_folder / "bwh_icans")
    html = render(ReportData("bwh", delivered=cohort), only=["atlas"])
    assert "Units are not settled" in html
    assert "Not split into ICANS and no ICANS" in html
    table = atlas(cohort)
    assert set(table.loc[table["stratum"] == ALL, "unit"]) == {"?"}
    assert worst_grade(cohort, "ICANS").notna().all()
