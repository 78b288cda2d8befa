"""The systemic part of the patient model: balances, signs and steady states, by the slow reference solver."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module

import numpy as np
import numpy.typing as npt
import pytest

from icans.core.errors import ModelError
from icans.mechanism.declare import Builder
from icans.mechanism.doses import Dose
from icans.mechanism.model import PatientModel, assemble
from icans.mechanism.modules.cells import car_pools
from icans.mechanism.numeric import function
from icans.mechanism.parameters import read_parameters
from icans.mechanism.patient import BRAIN, MODULES, Options, patient_model
from icans.mechanism.reference import Course, initial, rates, solve

Array = npt.NDArray[np.float64]
INFUSION = (Dose(0.0, "car_t", 2e8, "cells"),)
DAYS = np.arange(0, 28.25, 0.25)


@cache
def systemic(effects: tuple[tuple[str, str], ...] = (), cells: str = "one", feedback: bool = True) -> PatientModel:
    """The model without brain, with drug effects held at fixed levels."""
    options = Options(brain=False, cells=cells, feedback=feedback)
    builder = Builder()
    for name in MODULES:
        if name not in BRAIN:
            import_module(f"icans.mechanism.modules.{name}").declare(builder, options)
    for handle, level in effects:
        builder.act(handle, level)
    return assemble(builder, read_parameters())


def draw(model: PatientModel, count: int, seed: int = 1) -> Array:
    """Patients by the table's own variability, shape (count, parameters)."""
    rng = np.random.default_rng(seed)
    made = np.tile(model.parameters.values_array(), (count, 1))
    for place, row in enumerate(model.parameters.rows):
        if row.iiv > 0:
            z = row.iiv * rng.standard_normal(count)
            if row.transform == "log":
                made[:, place] *= np.exp(z)
            elif row.transform == "logit":
                made[:, place] = 1 / (1 + np.exp(-(np.log(row.value / (1 - row.value)) + z)))
            else:
                made[:, place] += z
        made[:, place] = np.clip(made[:, place], row.lower, row.upper)
    return made


def course(
    model: PatientModel, outputs: Sequence[str], parameters: Array | dict[str, float] | None = None,
    doses: Sequence[Dose] = INFUSION, y_start: Array | None = None,
) -> Course:  # fmt: skip
    return solve(model, parameters, doses, DAYS * 24, outputs=outputs, method="BDF", rtol=1e-5, atol=1e-7,
                 y_start=y_start)  # fmt: skip


def with_values(model: PatientModel, **factors: float) -> dict[str, float]:
    return {name: model.parameters[name].value * factor for name, factor in factors.items()}


@pytest.mark.parametrize("cells", ["one", "four"])
def test_without_cells_every_patient_is_at_a_steady_state(cells: str) -> None:
    model = systemic(cells=cells)
    for row in draw(model, 30):
        row[model.parameters.place("ld_0")] = 0.0  # lymphodepletion moves blood counts and IL-15 by itself
        start = initial(model, row)
        change = dict(zip(model.state_names, rates(model, start, row) / (np.abs(start) + 1e-3)))
        assert change.pop("TUM") != 0.0
        assert max(map(abs, change.values())) < 1e-10


def test_lymphodepletion_moves_only_what_it_should() -> None:
    model = systemic()
    change = rates(model, initial(model))
    moving = {name for name, rate in zip(model.state_names, change) if abs(rate) > 1e-12}
    assert moving == {"TUM", "LD", "MARROW_2", "ANC", "PLT"}


@pytest.mark.parametrize("cells", ["one", "four"])
def test_no_state_can_become_negative(cells: str) -> None:
    """On the face of the positive orthant where a state is 0, its rate is not negative (Nagumo's condition)."""
    model = systemic(cells=cells)
    rng = np.random.default_rng(2)
    f = function(model, [model.rates[n] for n in model.state_names])
    bounded = {"MYE_R", "MYE_A", "MYE_T", "ENDO", "WPB", "HMP", "HMP_P", "VASO", "LEAK", "TREG", "MARROW", "MARROW_2"}
    scale = np.maximum(initial(model), 1.0)
    for row in draw(model, 40, seed=3):
        y = scale * np.exp(2 * rng.standard_normal(len(scale)))
        for place, name in enumerate(model.state_names):
            if name in bounded:
                y[place] = rng.random()
        # The renewal of resting cells assumes that the pool is not overfull of active and spent ones.
        for name in ("MYE_R", "MYE_A", "MYE_T", "HMP", "HMP_P"):
            y[model.state_names.index(name)] *= 1 / 3
        endo = model.state_names.index("ENDO")
        y[endo] = max(y[endo], row[model.parameters.place("endo_0")])
        for place, state in enumerate(model.states):
            if state.nonnegative and state.name != "ENDO":
                zero = y.copy()
                zero[place] = 0.0
                assert f(zero.tolist(), row.tolist())[place] >= 0.0, state.name


def test_shares_stay_between_zero_and_one() -> None:
    model = systemic()
    names = ("MYE_A", "ENDO", "WPB", "HMP", "VASO", "LEAK")
    for row in draw(model, 12, seed=5):
        values = course(model, names, row).values
        assert values.min() > -1e-6
        assert values[:, 1:].max() < 1.0
        assert values[:, 0].max() < 1.0 + row[model.parameters.place("mye_recruit")]


@pytest.mark.parametrize("cells", ["one", "four"])
def test_cells_are_moved_and_not_made_between_pools(cells: str) -> None:
    """Without growth and death the cells of the body stay as many as were infused."""
    model = systemic(cells=cells)
    values = model.parameters.values_array()
    for name in ("car_rho", "car_alpha", "car_aicd", "car_infused_death", "car_beta"):
        values[model.parameters.place(name)] = 0.0
    f = function(model, [model.rates[n] for n in car_pools(Options(cells=cells, brain=False))])
    rng = np.random.default_rng(4)
    for _ in range(20):
        y = initial(model, model.parameters.values_array()) + 10 * rng.random(len(model.states))
        assert abs(sum(f(y.tolist(), values.tolist()))) < 1e-11


def test_antigen_gone_there_is_one_steady_state_and_it_attracts() -> None:
    """No patient of the range of variability stays inflamed for lack of a cause.

    From a storm (every myeloid cell active, endothelium and macrophages at their largest, cytokines a hundred times
    their baseline) without antigen the patient comes back to rest, and the Jacobian at rest has no eigenvalue with a
    positive real part.
    """
    model = systemic()
    names = ("MYE_A", "ENDO", "HMP", "IL6", "IFNG", "VASO")
    for row in draw(model, 8, seed=6):
        row[model.parameters.place("tum_0")] = model.parameters["tum_0"].lower
        row[model.parameters.place("tum_growth")] = model.parameters["tum_growth"].lower
        rest = initial(model, row)
        storm = rest.copy()
        for name, value in (("MYE_A", 1.0), ("MYE_R", 0.0), ("ENDO", 0.98), ("HMP", 0.98), ("VASO", 0.9)):
            storm[model.state_names.index(name)] = value
        for name in ("IL6", "IFNG", "GMCSF", "TNF", "IL1B", "MCP1", "IL8", "IL10", "CRP", "C5B9"):
            storm[model.state_names.index(name)] *= 100
        storm[[model.state_names.index(n) for n in ("TUM", "BCELL")]] = 0.0
        storm[model.state_names.index("CAR_E")] = 500.0
        end = solve(model, row, (), [0.0, 60 * 24.0], outputs=names, method="BDF", rtol=1e-6, atol=1e-9, y_start=storm)
        base = np.array([rest[model.state_names.index(n)] for n in names])
        assert np.abs(end.values[-1] - base).max() < 0.02 * max(1.0, base.max())


def test_rest_without_antigen_is_stable() -> None:
    model = systemic()
    f = function(model, [model.rates[n] for n in model.state_names])
    for row in draw(model, 15, seed=7):
        row[model.parameters.place("ld_0")] = 0.0
        rest = initial(model, row)
        rest[[model.state_names.index(n) for n in ("TUM", "BCELL")]] = 0.0
        p = row.tolist()
        columns = []
        for place in range(len(rest)):
            step = 1e-5 * max(1.0, abs(rest[place]))
            up, down = rest.copy(), rest.copy()
            up[place] += step
            down[place] -= step
            columns.append((np.array(f(up.tolist(), p)) - np.array(f(down.tolist(), p))) / (2 * step))
        growth = row[model.parameters.place("tum_growth")]
        values = np.sort(np.linalg.eigvals(np.array(columns).T).real)
        assert values[-1] == pytest.approx(growth, rel=1e-3)  # the tumour itself, which is not there
        assert values[-2] < 1e-9


def test_feedback_makes_the_tail() -> None:
    """Without the loops of the myeloid cells the highest peaks of IL-6 go, the typical ones less so."""
    peaks = {}
    for feedback in (True, False):
        model = systemic(feedback=feedback)
        full = systemic()
        rows = draw(full, 16, seed=8)
        keep = [full.parameters.place(n) for n in model.parameters.names]
        peaks[feedback] = np.array([course(model, ("IL6",), row[keep])["IL6"].max() for row in rows])
    assert np.all(peaks[False] <= peaks[True] * 1.001)
    assert np.quantile(peaks[True], 0.9) > 1.6 * np.quantile(peaks[False], 0.9)


def test_doses_of_cells_matter_little() -> None:
    model = systemic()
    peaks = [course(model, ("car_blood",), doses=[Dose(0, "car_t", n, "cells")])["car_blood"][8:].max()
             for n in (0.7e8, 2e8, 6e8)]  # fmt: skip
    assert peaks[0] < peaks[1] < peaks[2] < 2 * peaks[0]


def test_burden_drives_expansion_and_inflammation() -> None:
    model = systemic()
    seen = [course(model, ("car_blood", "IL6", "crs_severity"), with_values(model, tum_0=k)).values[8:].max(0)
            for k in (0.2, 1.0, 5.0)]  # fmt: skip
    assert np.all(np.diff(np.array(seen), axis=0) > 0)


def test_fast_costimulation_is_earlier_and_worse() -> None:
    """CD28-like: quick priming and growth. 4-1BB-like: slower both."""
    model = systemic()
    fast = course(model, ("car_blood", "crs_severity", "IL6"))
    slow = course(model, ("car_blood", "crs_severity", "IL6"), with_values(model, car_rho=0.85, car_priming=0.5))
    assert DAYS[8:][fast["car_blood"][8:].argmax()] < DAYS[8:][slow["car_blood"][8:].argmax()]
    assert np.argmax(fast["crs_severity"] > 0.5) < np.argmax(slow["crs_severity"] > 0.5)
    assert fast["IL6"].max() > slow["IL6"].max()


def test_blocking_the_receptor_raises_il6_and_lowers_crp_by_occupancy() -> None:
    levels = ("0", "0.5", "0.8", "0.95")
    seen = [course(systemic((("inh_il6r", level),)), ("IL6", "CRP", "TEMP", "il6_trans", "SIL6R")) for level in levels]
    raised = [c["IL6"].max() for c in seen]
    assert raised == sorted(raised)
    assert 1.5 < raised[-1] / raised[0] < 3.0
    for name in ("CRP", "TEMP"):
        falling = [c[name].max() for c in seen]
        assert falling == sorted(falling, reverse=True)
    # Half occupancy lets free soluble receptor and IL-6 pile up: trans-signalling falls only when nearly all is held.
    assert seen[-1]["il6_trans"].max() < 0.8 * seen[0]["il6_trans"].max()
    assert seen[-1]["SIL6R"].max() > 3 * seen[0]["SIL6R"].max()


@pytest.mark.parametrize(
    ("handle", "lowered"),
    [
        ("inh_il1", ("IL6", "ENDO", "crs_severity")),
        ("inh_ifng", ("MYE_A", "FERRITIN", "HMP")),
        ("inh_gmcsf", ("MYE_A", "IL6", "MCP1")),
        ("inh_tnf", ("ENDO", "TEMP")),
        ("inh_jak", ("MYE_A", "CRP", "car_blood")),
        ("steroid", ("MYE_A", "IL6", "CRP", "IFNG", "ENDO", "TEMP")),
        ("endo_protect", ("ENDO", "ANG2", "VWF")),
        ("tie2_support", ("ENDO", "ANG2", "VCAM1")),
        ("inh_car_growth", ("car_blood", "IL6")),
        ("inh_car_function", ("engaged", "IFNG", "MYE_A")),
    ],
)
def test_each_handle_acts_in_its_direction_and_by_its_size(handle: str, lowered: tuple[str, ...]) -> None:
    seen = [course(systemic(((handle, level),)), lowered).values.max(0) for level in ("0", "0.4", "0.8")]
    assert np.all(seen[1] < seen[0])
    assert np.all(seen[2] < seen[1])


def test_killing_stops_when_car_signalling_is_blocked() -> None:
    seen = course(systemic((("inh_car_function", "1"),)), ("TUM", "BCELL"))
    assert np.all(np.diff(seen["TUM"]) > 0)
    assert np.ptp(seen["BCELL"]) < 1e-12


def test_patients_without_tumour_expand_on_normal_cells() -> None:
    model = systemic()
    cells = course(model, ("car_blood", "BCELL"), {"tum_0": model.parameters["tum_0"].lower})
    assert cells["car_blood"][8:].max() > 2 * cells["car_blood"][8]
    assert cells["BCELL"][-1] < 0.05 * cells["BCELL"][0]


def test_four_phenotypes_expand_alike_and_differentiate() -> None:
    one = course(systemic(), ("car_blood",))["car_blood"][8:]
    four = course(systemic(cells="four"), ("car_blood", "CAR_TN", "CAR_E", "CAR_M"))
    assert 0.3 < four["car_blood"][8:].max() / one.max() < 3
    early, late = 28, 112
    assert four["CAR_E"][early] > four["CAR_M"][early]
    assert four["CAR_M"][late] / four["car_blood"][late] > four["CAR_M"][early] / four["car_blood"][early]


def test_more_cd8_cells_expand_more() -> None:
    model = systemic()
    peaks = [course(model, ("car_blood",), {"cd4_cd8": ratio})["car_blood"][8:].max() for ratio in (0.3, 1.0, 3.0)]
    assert peaks == sorted(peaks, reverse=True)


def test_tie2_at_rest_is_that_of_the_resting_angiopoietins() -> None:
    model = systemic()
    seen = course(model, ("tie2_activity", "tie2_rest", "ang_ratio"), {"ld_0": 0.0}, doses=())
    np.testing.assert_allclose(seen["tie2_activity"], seen["tie2_rest"], rtol=1e-6)
    assert np.ptp(seen["ang_ratio"]) < 1e-6


def test_options_that_do_not_exist_are_refused_together() -> None:
    with pytest.raises(ModelError) as error:
        Options(regions=("cortex", "cortecs"), cells="five", solutes=("IL6", "IL6"))
    assert {"cortecs", "five"} <= {p.value for p in error.value.problems}
    assert len(error.value.problems) == 3
    with pytest.raises(ModelError, match="no drugs"):
        patient_model(["tocilizumab"], brain=False)
    with pytest.raises(ModelError, match="tocilizumab"):
        patient_model(["tocilizumap"])


def test_the_model_is_made_once_for_the_same_options() -> None:
    assert patient_model(brain=False) is patient_model((), brain=False)


def test_hypotension_counts_after_treatment_has_taken_the_fever() -> None:
    """ASTCT: fever is required at entry, not after treatment; severity then follows hypotension alone."""
    model = systemic()
    names = ("crs_severity", "crs_hypotension", "crs_feverish")
    read = function(model, names)
    y = initial(model)
    for vaso in (0.05, 0.1):  # without fever and with little hypotension: no CRS
        y[model.state_names.index("VASO")] = vaso
        assert read(y.tolist(), model.parameters.values_array().tolist())[0] < 0.5
    for vaso in (0.3, 0.5, 0.6):
        y[model.state_names.index("VASO")] = vaso
        severity, hypotension, feverish = read(y.tolist(), model.parameters.values_array().tolist())
        assert feverish < 0.01
        assert severity == pytest.approx(hypotension, abs=0.02)
