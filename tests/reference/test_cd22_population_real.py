"""The CD22 cohort as records of a population model; stored results show no patient. Skips without the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from icans.population.nlme.likelihood import bind, log_likelihood, means, phi_of

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "cd22"


@pytest.fixture(scope="module")
def study(data_folder: Path):  # type: ignore[no-untyped-def]
    """Model and records of the cohort."""
    from icans.datasets import load
    from icans.harmonize.pipeline import harmonize
    from icans.study.cd22_model import cd22_study

    return cd22_study(harmonize(load("cd22_car_hlh", data_folder / "cd22_car_hlh")).cohort, threads=1)


def test_limits_that_nobody_declared_are_censored_rows(study) -> None:  # type: ignore[no-untyped-def]
    census = study.prepared.census.set_index("analyte")
    assert census.loc["gm_csf", "left"] > 400, "two thirds of GM-CSF lie at plate floors"
    assert len(census.loc["gm_csf", "limits"].split(", ")) >= 3
    assert census.loc["il_6", "right"] >= 7
    assert census.loc["ifn_g", "right"] >= 20
    assert census.loc["car_t_count", "left"] >= 15
    assert (census["patients"] >= 30).all()


def test_every_patient_has_a_likelihood_at_the_start(study) -> None:  # type: ignore[no-untyped-def]
    bound = bind(study.model, study.prepared.records)
    phi = phi_of(bound, means(bound, study.begin), np.zeros((len(bound), bound.size)))
    assert np.isfinite(log_likelihood(bound, study.begin, phi, bound.everyone)).all()


def test_stored_results_show_no_patient() -> None:
    files = sorted(RESULTS.glob("*"))
    assert files
    for file in files:
        assert "CD22-" not in file.read_text(encoding="utf-8"), file.name
    assert (pd.read_csv(RESULTS / "vpc.csv")["n"] >= 20).all()
    assert (pd.read_csv(RESULTS / "by_treatment.csv")["values"] >= 20).all()
