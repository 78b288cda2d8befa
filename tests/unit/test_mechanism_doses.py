"""Doses: what is refused, and the events that they become."""

from __future__ import annotations

import math

import numpy as np
import pytest

from icans.core.errors import ModelError
from icans.mechanism.doses import (
    ADD,
    RATE,
    SET,
    SWITCH,
    Dose,
    Reset,
    Switch,
    Trigger,
    check,
    check_triggers,
    entering,
    entering_derivatives,
    planned,
    schedule,
    unit_factor,
)  # fmt: skip
from small_patient import small_model

MODEL = small_model()
TYPICAL = MODEL.parameters.values_array()
DRUG = "antibody"
BY_ROUTE = {route: i for i in MODEL.inputs if i.drug == DRUG for route in i.routes}


@pytest.mark.parametrize(
    ("dose", "said"),
    [
        (Dose(0, DRUG, -1, "mg"), "at least 0"),
        (Dose(0, DRUG, math.nan, "mg"), "at least 0"),
        (Dose(math.nan, DRUG, 1, "mg"), "hours since infusion"),
        (Dose(0, DRUG[:-1], 1, "mg"), f"'{DRUG}'"),
        (Dose(0, DRUG, 1, ""), "a unit such as"),
        (Dose(0, DRUG, 1, "L"), "a unit that converts"),
        (Dose(0, DRUG, 1, "furlong"), "a unit that converts"),
        (Dose(0, DRUG, 1, "mg", route="nose"), "a route that"),
        (Dose(0, DRUG, 1, "mg", duration_h=-1), "a bolus"),
        (Dose(0, DRUG, 1, "mg", count=2), "Give every_h"),
        (Dose(0, DRUG, 1, "mg", every_h=0.0, count=2), "above 0"),
        (Dose(0, DRUG, 1, "mg", every_h=1.0, count=0), "a whole number"),
        (Reset(0, "IL_6", 1.0), "'IL6'"),
        (Reset(0, "IL6", math.inf), "a number"),
        (Switch(0, "rhoo", 1.0), "'rho'"),
        (Switch(0, "rho", -1.0), "from 0"),
    ],
)  # fmt: skip
def test_refused(dose: object, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        check(MODEL, [dose])  # type: ignore[list-item]


def test_all_problems_at_once() -> None:
    with pytest.raises(ModelError) as caught:
        check(MODEL, [Dose(0, DRUG, -1, "L"), Dose(math.inf, "nothing", 1, "mg"), Reset(0, "x", 1.0)])
    assert len(caught.value.problems) == 5


@pytest.mark.parametrize(
    ("unit", "target", "factor"),
    [("mg", "mg", 1.0), ("g", "mg", 1000.0), ("ug", "mg", 1e-3), ("cells", "cells", 1.0), ("1e6 cells", "cells", 1e6),
     ("10^8 cells", "1e6 cells", 100.0)],
)  # fmt: skip
def test_units(unit: str, target: str, factor: float) -> None:
    assert unit_factor(unit, target) == pytest.approx(factor, rel=1e-12)


def test_order_at_one_time() -> None:
    plan = planned(MODEL, [Switch(5, "rho", 0.1), Reset(5, "IL6", 0.0), Dose(5, DRUG, 8, "mg"),
                           Dose(5, DRUG, 8, "mg", duration_h=1)])  # fmt: skip
    assert plan.kind[plan.time == 5].tolist() == [ADD, RATE, SET, SWITCH]


def test_repeats_and_loading_dose() -> None:
    plan = planned(MODEL, [Dose(0, DRUG, 10, "mg"), Dose(12, DRUG, 5, "mg", every_h=12, count=3)])
    assert plan.time.tolist() == [0, 12, 24, 36]
    assert plan.value.tolist() == [10, 5, 5, 5]


def test_overlapping_infusions_end_at_exactly_nothing() -> None:
    doses = [Dose(0.1 * k, DRUG, 1 / 3 + k / 7, "mg", duration_h=0.7) for k in range(9)]
    plan = planned(MODEL, doses)
    assert plan.value[-1] == 0.0
    area = float((plan.value[:-1] * np.diff(plan.time)).sum())
    assert area == pytest.approx(sum(d.amount for d in doses), rel=1e-12)


def test_lag_and_bioavailability_are_the_patients_own() -> None:
    entry = BY_ROUTE["sc"]
    own = TYPICAL.copy()
    own[MODEL.parameters.place("f_sc")], own[MODEL.parameters.place("lag_sc")] = 0.5, 2.25
    events = schedule(MODEL, [Dose(1, DRUG, 100, "mg", route="sc")], own)
    assert events.time.tolist() == [3.25]
    factor, lag = entering(MODEL, own[None])
    assert events.value[0] == 100 * factor[0, MODEL.inputs.index(entry)] == 50
    assert lag[0, MODEL.inputs.index(entry)] == 2.25


def test_derivatives_of_lag_and_bioavailability() -> None:
    place = MODEL.inputs.index(BY_ROUTE["sc"])
    factor, lag = entering_derivatives(MODEL, TYPICAL[None], ["rho", "f_sc", "lag_sc"])
    np.testing.assert_allclose(factor[0, place], [0, 1, 0], atol=1e-9)
    np.testing.assert_allclose(lag[0, place], [0, 0, 1], atol=1e-9)


@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        (Trigger("IL_6", 1.0), "'IL6'"),
        (Trigger("IL6", math.nan), "a number"),
        (Trigger("IL6", 1.0, "across"), "'up' or 'down'"),
        (Trigger("IL6", 1.0, delay_h=-1.0), "at least 0"),
        (Trigger("IL6", 1.0, max_times=0), "from 1"),
        (Trigger("IL6", 1.0, max_times=2, sustained=True), "sustained"),
        (Trigger("IL6", 1.0, doses=(Dose(-1, DRUG, 1, "mg"),)), "after the passage"),
        (Trigger("IL6", 1.0, doses=(Dose(0, DRUG, -1, "mg"),)), "at least 0"),
    ],
)  # fmt: skip
def test_triggers_refused(trigger: Trigger, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        check_triggers(MODEL, [trigger])
