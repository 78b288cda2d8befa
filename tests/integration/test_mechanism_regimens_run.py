"""Regimens through the solver: rules fire when they should, repeat while they hold, and give doses by weight."""

from __future__ import annotations

import numpy as np
import pytest

from icans.mechanism.doses import Dose
from icans.mechanism.engine.simulate import simulate
from icans.mechanism.patient import WHOLE, patient_model
from icans.mechanism.regimens import Regimen, default_cuts, regimen
from icans.mechanism.trajectory import Trajectory

HOURS = np.arange(0.0, 24 * 16 + 1, 2.0)
CELLS = Dose(0, "car_t", 1.5e8, "cells")
SEEN = ("crs_severity", "encephalopathy", "toci_conc", "steroid", "IL6", "CRP", "il6_signal")


def run(plan: Regimen, weight: float = 75.0, **cuts: tuple[float, ...]) -> Trajectory:
    """An ill patient under standard care's drugs (one model for all plans here)."""
    model = patient_model(regimen("standard_care").drugs, regions=WHOLE)
    ill = {"tum_0": 4.0, "mye_activation": 1.5 * model.parameters["mye_activation"].value}
    return simulate(model, ill, [CELLS, *plan.given(weight)], HOURS, outputs=SEEN,
                    triggers=plan.triggers(weight, cuts=cuts or None))  # fmt: skip


def test_reactive_care_waits_for_the_grade() -> None:
    free, cared = run(regimen("none")), run(regimen("standard_care"))
    start = default_cuts()["crs"][1]
    first = HOURS[(free["crs_severity"][0] >= start).argmax()]
    given = HOURS[(cared["toci_conc"][0] > 1e-6).argmax()]
    assert 0 < first + 2 <= given <= first + 4  # two hours after it is seen, on a grid of two hours
    before = first >= HOURS
    np.testing.assert_allclose(cared["IL6"][0][before], free["IL6"][0][before], rtol=1e-3)
    assert cared["CRP"][0].max() < 0.9 * free["CRP"][0].max()
    assert cared["encephalopathy"][0].max() < free["encephalopathy"][0].max()


def test_amounts_follow_weight() -> None:
    peaks = [run(regimen("tocilizumab_day_2"), weight)["toci_conc"].max() for weight in (50.0, 100.0, 150.0)]
    assert peaks[1] == pytest.approx(2 * peaks[0], rel=0.01)
    assert peaks[2] == pytest.approx(peaks[1], rel=1e-6)  # 800 mg at most


def test_a_stricter_scheme_treats_earlier() -> None:
    usual = run(regimen("standard_care"))
    eager = run(regimen("standard_care"), crs=(0.2, 0.4, 0.6, 0.8))
    first = [HOURS[(t["toci_conc"][0] > 1e-6).argmax()] for t in (usual, eager)]
    assert first[1] < first[0]


def test_steroids_go_on_while_icans_lasts() -> None:
    """Four doses a day are given anew each day as long as the grade holds, and no longer than seven days."""
    course = run(regimen("standard_care"), icans=(0.05, 0.1, 9.0, 9.5))
    on = course["steroid"][0] > 0.7
    ill = course["encephalopathy"][0] > 0.1
    assert on.sum() * 2 > 48
    assert on.sum() * 2 < 9 * 24
    assert not on[: ill.argmax()].any()
