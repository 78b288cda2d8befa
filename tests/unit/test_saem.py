"""SAEM against the closed-form likelihood of a straight line with normal random effects (synthetic data)."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize

from icans.core.errors import ModelError
from icans.population.fit import saem
from icans.population.fit.importance import importance_likelihood
from icans.population.fit.result import RandomEffects
from icans.population.fit.saem import SaemSettings, fit_saem
from icans.population.nlme.likelihood import bind
from icans.population.nlme.model import Effect, Mixture, Prior
from icans.population.nlme.population import packing, start
from line_cases import exact, line_case, posterior

QUICK = SaemSettings(smooth=120, final=100)
LOOSE = replace(QUICK, standard_errors="none", importance=0)


def maximum(bound, vector):
    """The exact maximum near a packed vector, and the exact information there."""
    pack = packing(bound.model)

    def height(x):
        return -exact(bound, pack.unpack(x)).sum()

    best = optimize.minimize(height, vector, method="BFGS", options={"gtol": 1e-5})
    h, eye = 1e-3, np.eye(len(vector))
    hessian = np.array([[
        (height(best.x + h * (p + q)) - height(best.x + h * (p - q)) - height(best.x - h * (p - q))
         + height(best.x - h * (p + q))) / (4 * h * h) for q in eye] for p in eye])  # fmt: skip
    return best.x, -best.fun, hessian


FULL = dict(truth={"omega": np.array([[1.0, 0.1], [0.1, 0.04]]), "effects": np.array([0.6])},
            blocks="full", effects=[Effect("a", "x")])  # fmt: skip
CASES = {
    "block and covariate": FULL,
    "occasions, some with one only": dict(iov=0.7, one_occasion=5),
    "a parameter that does not vary": dict(iiv_k=0.0),
}


@pytest.mark.parametrize("name", CASES)
def test_estimates_errors_and_effects_are_those_of_the_exact_likelihood(name):
    model, records = line_case(30, 3, **CASES[name])
    bound = bind(model, records)
    fit = fit_saem(model, records, seed=1, settings=QUICK)
    x, best, hessian = maximum(bound, fit.vector)
    se = np.sqrt(np.diag(np.linalg.inv(hessian)))
    assert best - exact(bound, fit.population).sum() < 0.03
    assert np.abs((fit.vector - x) / se).max() < 0.2
    assert fit.log_likelihood == pytest.approx(exact(bound, fit.population).sum(), abs=5 * fit.likelihood_se + 1e-6)
    assert fit.likelihood_se < 0.1
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance)), se, rtol=0.15)
    mean, cov = posterior(bound, fit.population)
    sd = np.sqrt(np.diagonal(cov, axis1=1, axis2=2))
    assert np.abs((fit.effects.mode - mean) / sd).max() < 0.35
    np.testing.assert_allclose(np.sqrt(np.diagonal(fit.effects.covariance, axis1=1, axis2=2)), sd, rtol=0.35)
    assert fit.converged
    assert fit.covariance_method == "Louis"
    assert fit.messages == ()


def test_the_linearised_information_is_exact_for_a_line():
    model, records = line_case(30, 3, **FULL)
    fit = fit_saem(model, records, seed=1, settings=replace(QUICK, standard_errors="linear", importance=0))
    _, _, hessian = maximum(bind(model, records), fit.vector)
    got = np.sqrt(np.diag(fit.covariance))
    np.testing.assert_allclose(got, np.sqrt(np.diag(np.linalg.inv(hessian))), rtol=0.1)
    assert fit.covariance_method == "linearised"


def test_classes_are_recovered_and_their_likelihood_is_at_its_maximum():
    mixture = Mixture(("usual", "low"), (0.6, 0.4), {"a": (-3.0,)})
    truth = {"shares": np.array([0.75, 0.25]), "shifts": np.array([[0.0, 0.0], [-5.0, 0.0]])}
    model, records = line_case(80, 5, truth=truth, mixture=mixture)
    bound = bind(model, records)
    fit = fit_saem(model, records, seed=2, settings=QUICK)
    _, best, hessian = maximum(bound, fit.vector)
    se = np.sqrt(np.diag(np.linalg.inv(hessian)))
    assert best - exact(bound, fit.population).sum() < 0.05
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance)), se, rtol=0.2)
    table = fit.table().set_index("name")
    assert table.loc["share low", "value"] == pytest.approx(0.25, abs=2 * table.loc["share low", "se"] + 0.02)
    assert table.loc["low on a", "value"] == pytest.approx(-5.0, abs=3 * table.loc["low on a", "se"])
    assert fit.log_likelihood == pytest.approx(exact(bound, fit.population).sum(), abs=5 * fit.likelihood_se + 1e-6)


def test_a_class_that_differs_in_a_parameter_that_does_not_vary():
    mixture = Mixture(("usual", "fast"), (0.6, 0.4), {"k": (0.3,)})
    truth = {"shares": np.array([0.7, 0.3]), "shifts": np.array([[0.0, 0.0], [0.0, 0.5]])}
    model, records = line_case(60, 6, truth=truth, mixture=mixture, iiv_k=0.0)
    fit = fit_saem(model, records, seed=2, settings=LOOSE)
    _, best, _ = maximum(bind(model, records), fit.vector)
    assert best - exact(bind(model, records), fit.population).sum() < 0.05
    assert fit.population.shifts[1, 1] == pytest.approx(0.5, abs=0.05)


def test_priors_shrink_and_what_is_fixed_stays():
    model, records = line_case(30, 3, effects=[Effect("a", "x", prior=Prior(0.0, 0.01))])
    tight = replace(model, parameters=(
        replace(model.parameters[0], prior=Prior(0.0, 0.1), iiv_prior=0.2),
        replace(model.parameters[1], fixed=True, iiv_fixed=True),
    ))  # fmt: skip
    free, held = (fit_saem(m, records, seed=1, settings=LOOSE) for m in (model, tight))
    assert held.population.typical[1] == 0.3
    assert held.population.omega[1, 1] == pytest.approx(0.04)
    # The sum of the log-likelihood and of the declared priors is at its maximum.
    from icans.population.fit.priors import log_prior

    bound, pack = bind(tight, records), packing(tight)

    def height(x):
        there = pack.unpack(x)
        return -exact(bound, there).sum() - log_prior(tight, there).logp

    best = optimize.minimize(height, held.vector, method="BFGS")
    assert height(held.vector) - best.fun < 0.05
    assert abs(held.population.typical[0]) < 0.5 * abs(free.population.typical[0])


def test_the_same_seed_gives_the_same_bits_and_a_stored_run_goes_on(tmp_path, monkeypatch):
    model, records = line_case(12, 3)
    whole = fit_saem(model, records, seed=7, settings=LOOSE)
    other = fit_saem(model, records, seed=8, settings=LOOSE)
    assert (whole.vector != other.vector).any()

    calls, real = [], saem.iterate

    def interrupted(run, state, count):
        calls.append(state.iteration)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(run, state, count)

    monkeypatch.setattr(saem, "iterate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit_saem(model, records, seed=7, settings=LOOSE, folder=tmp_path)
    again = fit_saem(model, records, seed=7, settings=LOOSE, folder=tmp_path)
    assert calls[3] == calls[2] == 100
    np.testing.assert_array_equal(again.vector, whole.vector)
    np.testing.assert_array_equal(again.effects.mode, whole.effects.mode)


def test_a_variability_that_is_not_there_is_told():
    model, records = line_case(40, 9, truth={"omega": np.diag([1.0, 1e-10])})
    fit = fit_saem(model, records, seed=1, settings=replace(LOOSE, smooth=300))
    assert any("k between patients goes to zero" in m for m in fit.messages)
    assert np.sqrt(fit.population.omega[1, 1]) < 0.01


def test_a_subject_that_cannot_be_computed_is_left_out_and_told():
    model, records = line_case(12, 3, broken=True)
    fit = fit_saem(model, records, seed=1, settings=LOOSE)
    assert list(fit.effects.failed) == ["1broken"]
    assert any("1broken" in m for m in fit.messages)
    assert fit.effects.mode.shape == (12, 2)
    assert (fit.effects.mode[1] == 0.0).all()
    rest = fit_saem(model, records.subset([i for i in range(12) if i != 1]), seed=1, settings=LOOSE)
    np.testing.assert_array_equal(fit.vector, rest.vector)
    with pytest.raises(ModelError, match="1broken"):
        fit_saem(model, records.subset([1]), seed=1, settings=LOOSE)


def test_a_run_that_is_too_short_says_so():
    model, records = line_case(12, 3)
    fit = fit_saem(model, records, seed=1, settings=replace(LOOSE, explore=20, anneal=5, smooth=10))
    assert not fit.converged
    assert any("Not settled" in m for m in fit.messages)


def test_importance_is_exact_without_effects_and_honest_with_bad_proposals():
    model, records = line_case(10, 4, iiv_k=0.0)
    bound, population = bind(model, records), start(model)
    wanted = exact(bound, population)
    mean, cov = posterior(bound, population)
    bad = RandomEffects(mean + 1.0 * np.sqrt(np.diagonal(cov, axis1=1, axis2=2)), cov * 1.5, "mean")
    got = importance_likelihood(bound, population, bad, 1, 4000)
    assert (np.abs(got.log_likelihood - wanted) < 4.5 * got.se).all()
    assert (got.effective < 3500).all()
    still = replace(model, parameters=tuple(replace(p, iiv=0.0) for p in model.parameters))
    plain = importance_likelihood(bind(still, records), start(still), None, 1, 10)
    np.testing.assert_allclose(plain.log_likelihood, exact(bind(still, records), start(still)), rtol=1e-10)


def test_a_model_without_random_effects_is_fitted_by_newton_steps():
    model, records = line_case(10, 4)
    still = replace(model, parameters=tuple(replace(p, iiv=0.0) for p in model.parameters))
    fit = fit_saem(still, records, seed=1, settings=QUICK)
    table = records.frame()
    slope, height = np.polyfit(table["time_h"], table["value"], 1)
    np.testing.assert_allclose(fit.population.typical, [height, slope], rtol=1e-4)
    assert fit.likelihood == "exact"
