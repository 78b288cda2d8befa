"""A compiled model as a structural model: the solver's own values, exact derivatives, links, occasions, failures."""

import numpy as np
import pandas as pd
import pytest

from icans.core.errors import ModelError
from icans.mechanism.doses import Dose
from icans.mechanism.engine.simulate import simulate
from icans.population.nlme.ode import ode_model
from icans.population.nlme.records import Subject
from small_patient import small_model

MODEL = small_model()
NAMES = ("rho", "p_il6", "cl")
OUTPUTS = ("IL6", "CRP", "CAR_E")
CELLS = next(i for i in MODEL.inputs if i.drug != "antibody")


def subject(i, occasions=()):
    doses = (Dose(0.0, CELLS.drug, 3.0, CELLS.unit), Dose(30.0 + i, "antibody", 50.0, "mg"))
    return Subject(f"s{i}", pd.DataFrame(), doses, {"weight": 60.0 + i}, occasions)


def bound(names=NAMES, *, occasions=(), **more):
    structural = ode_model(MODEL, names, OUTPUTS, rtol=1e-8, **more)
    # Requests out of order, repeated, and fewer in the second subject.
    time = np.array([[96.0, 12.0, 12.0, 48.0, 160.0], [24.0, 72.0, 0.0, np.nan, np.nan]])
    output = np.array([[0, 1, 2, 0, 1], [2, 0, 1, -1, -1]])
    return structural, structural.bind([subject(0, occasions), subject(1, occasions)], time, output)


def psi_of(names=NAMES, sets=3):
    typical = np.array([MODEL.parameters[n].value for n in names])
    return typical * np.exp(0.1 * np.random.default_rng(1).standard_normal((sets, 1, len(names))))


def test_values_are_the_solvers_in_the_order_of_the_requests():
    _, solver = bound()
    psi, who = psi_of(), np.array([0, 1, 0])
    got = solver.values(psi, who)
    for m, i in enumerate(who):
        times = [[12.0, 48.0, 96.0, 160.0], [0.0, 24.0, 72.0]][i]
        run = simulate(
            MODEL, dict(zip(NAMES, psi[m, 0], strict=True)), subject(i).doses, times, outputs=OUTPUTS, rtol=1e-8
        )
        asked = [[(96, 0), (12, 1), (12, 2), (48, 0), (160, 1)], [(24, 2), (72, 0), (0, 1)]][i]
        wanted = [run.values[0, times.index(t), o] for t, o in asked]
        np.testing.assert_allclose(got[m, : len(wanted)], wanted, rtol=1e-12)
    assert np.isnan(got[1, 3:]).all()


@pytest.mark.parametrize("links", [{}, {"both": {"p_il6": 1.0, "crp_in": 0.5}}])
def test_derivatives_agree_with_differences(links):
    names = (*NAMES, *links)
    _, solver = bound(names, links=links)
    psi = np.concatenate([psi_of(), np.full((3, 1, len(links)), 1.2)], axis=2)
    who = np.array([0, 1, 1])
    values, by = solver.derivatives(psi, who)
    np.testing.assert_allclose(values, solver.values(psi, who), rtol=1e-6)
    for j in range(len(names)):
        step = np.zeros_like(psi)
        step[..., j] = 1e-3 * psi[..., j]
        numeric = (solver.values(psi + step, who) - solver.values(psi - step, who)) / (2 * step[:, 0, j])[:, None]
        scale = np.nanmax(np.abs(numeric), axis=1, keepdims=True) + 1e-12
        np.testing.assert_allclose(by[:, :, 0, j] / scale, numeric / scale, atol=2e-5)


def test_links_move_several_parameters_together():
    _, solver = bound(("scale",), links={"scale": {"p_il6": 1.0, "crp_in": 2.0}})
    _, plain = bound(("p_il6", "crp_in"))
    values = [MODEL.parameters[n].value for n in ("p_il6", "crp_in")]
    moved = np.array([[[values[0] * 1.5, values[1] * 1.5**2]]])
    np.testing.assert_allclose(
        solver.values(np.array([[[1.5]]]), np.array([0])), plain.values(moved, np.array([0])), rtol=1e-9
    )


def test_parameters_change_between_occasions_and_their_derivatives_add_up():
    _, solver = bound(occasions=(0.0, 40.0))
    _, plain = bound()
    psi, who = psi_of(sets=2), np.array([0, 1])
    same = np.repeat(psi, 2, axis=1)
    np.testing.assert_allclose(solver.values(same, who), plain.values(psi, who), rtol=1e-9)
    later = same.copy()
    later[:, 1, 1] *= 1.3
    changed = solver.values(later, who) / plain.values(psi, who)
    assert changed[0, 1] == pytest.approx(1.0)  # hour 12 comes before the second occasion
    assert changed[0, 0] > 1.05  # hour 96 after it
    _, by = solver.derivatives(same, who)
    _, whole = plain.derivatives(psi, who)
    scale = np.nanmax(np.abs(whole), axis=1, keepdims=True) + 1e-12
    np.testing.assert_allclose(by.sum(axis=2) / scale[:, :, 0], whole[:, :, 0] / scale[:, :, 0], atol=2e-4)


def test_covariates_give_parameters_their_values():
    _, solver = bound(covariates={"v_drug": "weight"})
    _, plain = bound((*NAMES, "v_drug"))
    psi = psi_of(sets=1)
    with_weight = np.concatenate([psi, np.full((1, 1, 1), 61.0)], axis=2)
    np.testing.assert_allclose(solver.values(psi, np.array([1])), plain.values(with_weight, np.array([1])), rtol=1e-9)


def test_sets_out_of_bounds_fail_alone():
    _, solver = bound()
    psi = psi_of()
    psi[1, 0, 0] = -1.0
    got = solver.values(psi, np.array([0, 0, 1]))
    assert np.isnan(got[1]).all()
    assert np.isfinite(got[0]).all()
    assert np.isfinite(got[2, :3]).all()


def test_mistakes_are_named_all_at_once():
    with pytest.raises(ModelError) as caught:
        ode_model(MODEL, ("rho", "rhoo", "rho"), ("IL6", "IL66"), links={"x": {"nothing": 1.0}})
    assert len(caught.value.problems) == 5
    structural = ode_model(MODEL, NAMES, OUTPUTS, covariates={"v_drug": "height"}, t_start=5.0)
    wrong = Subject("bad", pd.DataFrame(), (Dose(0.0, "nothing", 1.0, "mg"),), {})
    with pytest.raises(ModelError) as caught:
        structural.bind([wrong], np.array([[1.0]]), np.array([[0]]))
    assert {p.file for p in caught.value.problems} == {"subject bad"}
    assert len(caught.value.problems) >= 3
