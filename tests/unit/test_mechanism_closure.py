"""The spatial model's closure as a part of the patient model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from icans.core.errors import ModelError
from icans.mechanism.doses import Dose
from icans.mechanism.parameters import read_parameters
from icans.mechanism.patient import patient_model
from icans.mechanism.reference import initial, rates, solve

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "tissue_study.json"
SMALL = ("IL6", "IL1B", "IL1RA", "TNF", "IFNG", "GMCSF", "IL10", "ALB")


def test_off_by_default_and_then_nothing_of_it_is_there() -> None:
    model = patient_model(regions=("brain",))
    assert model.key == patient_model(regions=("brain",), closure=False).key
    assert not any(name.startswith(("TIS_", "closure")) for name in (*model.state_names, *model.parameters.names))


def test_health_is_a_steady_state() -> None:
    model = patient_model(regions=("cortex", "thalamus"), solutes=SMALL, closure=True)
    y = initial(model)
    slope = dict(zip(model.state_names, rates(model, y), strict=True))
    at = dict(zip(model.state_names, y, strict=True))
    for region in ("cortex", "thalamus"):
        assert at[f"TIS_{region}"] == slope[f"TIS_{region}"] == 0
        assert abs(slope[f"IL6_isf_{region}"]) < 1e-9


def test_the_numbers_are_those_of_the_study() -> None:
    found = json.loads(RESULTS.read_text())["closure"]
    table = read_parameters()
    for name, value in found["values"].items():
        assert table[f"closure_{name}"].value == pytest.approx(value, rel=0.01, abs=1e-3), name


def test_tissue_makes_il6_with_the_closure() -> None:
    """The typical patient: production rises after blood does, to what the closure says, and goes back."""
    model = patient_model(regions=("brain",), solutes=SMALL, closure=True)
    times = np.arange(0.0, 12 * 24, 6.0)
    outputs = ["IL6", "TIS_brain", "IL6_brain", "closure_drive_brain", "glial_restraint"]
    course = solve(model, doses=[Dose(0, "car_t", 1.5e8, "cells")], times=times, outputs=outputs, rtol=1e-5, atol=1e-7)
    made, drive = course["TIS_brain"], course["closure_drive_brain"]
    p = {name: row.value for name, row in model.parameters.items()}
    top = p["closure_top"] * drive / (1 + drive)
    assert 0 < made.max() <= top.max() * 1.001
    assert np.argmax(made) > np.argmax(course["IL6"])
    assert made[-1] < made.max()
    assert course["IL6_brain"].max() > 2 * course["IL6_brain"][0]


def test_refused_without_a_brain() -> None:
    with pytest.raises(ModelError, match="closure"):
        patient_model(brain=False, closure=True)
    with pytest.raises(ModelError, match="IL-6 is followed"):
        patient_model(solutes=("ALB",), closure=True)
