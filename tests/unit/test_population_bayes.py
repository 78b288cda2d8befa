"""The joint density, its priors, the No-U-Turn fit and the variational posterior, against closed forms."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats
from scipy.special import beta

from icans.core.errors import ModelError
from icans.population.fit.distributions import HalfCauchy, HalfNormal, LogNormal, Normal, Uniform, bayes_priors
from icans.population.fit.joint import Joint, block_prior, log_prior
from icans.population.fit.nuts import fit_nuts, sample_density
from icans.population.fit.variational import variational_posterior
from icans.population.nlme.likelihood import bind, means, phi_of
from icans.population.nlme.model import Effect, Individual, Mixture, Prior, nlme_model
from icans.population.nlme.observed import Observation, Outcome
from icans.population.nlme.population import packing, start
from icans.population.nlme.records import Subject, make_records
from posterior_cases import ERROR, NORMAL, OMEGA, Line, decays, line_posterior, lines, on_grid


@pytest.mark.parametrize(("mine", "theirs"), [
    (Normal(1.0, 2.0), stats.norm(1.0, 2.0)), (HalfNormal(0.7), stats.halfnorm(scale=0.7)),
    (HalfCauchy(2.0), stats.halfcauchy(scale=2.0)), (LogNormal(0.3, 0.5), stats.lognorm(0.5, scale=np.exp(0.3))),
    (Uniform(-1.0, 3.0), stats.uniform(-1.0, 4.0)),
], ids=lambda x: type(x).__name__)  # fmt: skip
def test_distributions_are_those_of_scipy(mine, theirs):
    for x in (0.2, 0.9, 2.5):
        logp, slope = mine.log_density(x)
        assert logp == pytest.approx(theirs.logpdf(x), rel=1e-12)
        assert slope == pytest.approx((theirs.logpdf(x + 1e-6) - theirs.logpdf(x - 1e-6)) / 2e-6, abs=1e-7)
    if not isinstance(mine, Normal):
        assert mine.log_density(-2.0) == (-np.inf, 0.0)


def test_the_prior_of_a_block_has_half_normal_sds_and_lkj_correlations():
    """Over the packed factor the density integrates to the constant of LKJ; the correlation is beta distributed."""
    eta, scale = 2.0, 0.8

    def density(x, y, z):
        factor = np.array([[np.exp(x), 0.0], [y, np.exp(z)]])
        return np.exp(block_prior(factor, [HalfNormal(scale)] * 2, eta)[0])

    def at_correlation(r, s1, s2):
        """Density of (s1, s2, r): the packed density times the Jacobian of the packing."""
        c = np.sqrt(1 - r * r)
        jacobian = (1 / s1) * (s2 * (1 / (s2 * c)))  # d(x, y, z)/d(s1, s2, r): x by s1; (y, z) by (s2, r) is 1/c^2 ...
        return density(np.log(s1), s2 * r, np.log(s2 * c)) * jacobian / c

    wanted = stats.halfnorm(scale=scale).pdf(0.5) * stats.halfnorm(scale=scale).pdf(0.9)
    for r in (-0.6, 0.0, 0.8):
        assert at_correlation(r, 0.5, 0.9) == pytest.approx(wanted * (1 - r * r) ** (eta - 1), rel=1e-9)
    total, _ = integrate.quad(lambda r: (1 - r * r) ** (eta - 1), -1, 1)
    assert total == pytest.approx(2 ** (2 * eta - 1) * beta(eta, eta))


def test_blocks_of_three_integrate_to_the_constant_of_lkj():
    eta, scale, points = 2.0, 0.5, 2**14
    u = stats.qmc.Sobol(6, rng=np.random.default_rng(1)).random(points)
    spread = stats.t(5)
    proposal = spread.ppf(np.clip(u, 1e-9, 1 - 1e-9)) * [0.9, 0.35, 0.9, 0.35, 0.35, 0.9] + [-1, 0, -1.2, 0, 0, -1.4]
    log_q = (
        spread.logpdf(spread.ppf(np.clip(u, 1e-9, 1 - 1e-9))).sum(axis=1)
        - np.log([0.9, 0.35, 0.9, 0.35, 0.35, 0.9]).sum()
    )
    logp = np.empty(points)
    for m, x in enumerate(proposal):
        factor = np.zeros((3, 3))
        factor[np.tril_indices(3)] = x
        factor[np.diag_indices(3)] = np.exp(np.diag(factor))
        logp[m] = block_prior(factor, [HalfNormal(scale)] * 3, eta)[0]
    # Lewandowski 2009, eq. 16.
    constant = 1.0
    for k in (1, 2):
        b = eta + (3 - k - 1) / 2
        constant *= (2 ** (2 * b - 1) * beta(b, b)) ** (3 - k)
    assert np.exp(logp - log_q).mean() == pytest.approx(constant, rel=0.05)


def rich(occasions, mixture):
    """A model with everything: effects, blocks, occasions, classes, censoring, grades, events."""
    t = [1.0, 3.0, 6.0, 12.0, 15.0]
    subjects = []
    for i in range(4):
        rows = [(h, "conc", 1.0 + 0.3 * h + 0.2 * i, "none") for h in t] + [(20.0, "conc", 4.0, "left")]
        rows += [(8.0, "grade", i % 3, "none"), (14.0, "grade", (i + 1) % 3, "none")]
        table = pd.DataFrame(rows, columns=["time_h", "observable", "value", "censor"])
        subjects.append(Subject(f"s{i}", table, (), {"age": 50.0 + 5 * i}, (0.0, 10.0) if occasions else ()))
    model = nlme_model(
        TwoOccasions(), [Individual("a", 1.5, iiv=0.3, prior=Prior(0.5, 1.0)),
                         Individual("c", 0.3, iiv=0.2, iov=0.1 if occasions else 0.0)],
        [Observation("conc", "y", "combined", 0.3, 0.1), Outcome("grade", "y", "ordinal", (1.0, 3.0), 0.3)],
        blocks="full", effects=[Effect("a", "age", "log", 0.2, 50.0)],
        mixture=Mixture(("usual", "low"), (0.7, 0.3), {"a": (-0.5,)}) if mixture else None,
    )  # fmt: skip
    return bind(model, make_records(subjects))


class TwoOccasions(Line):
    """``y = a + c t``, with the slope of the second occasion after 10 h."""

    outputs = ("y",)

    def bind(self, subjects, time_h, output):
        t = np.nan_to_num(time_h)

        class Solver:
            def values(self, psi, who):
                late = (t[who] > 10.0) & (psi.shape[1] > 1)
                return psi[:, 0, :1] + np.where(late, psi[:, -1, 1:2], psi[:, 0, 1:2]) * t[who]

            def derivatives(self, psi, who):
                late = (t[who] > 10.0) & (psi.shape[1] > 1)
                by = np.zeros((*t[who].shape, psi.shape[1], 2))
                by[:, :, 0, 0] = 1.0
                by[:, :, 0, 1] += np.where(late, 0.0, t[who])
                by[:, :, -1, 1] += np.where(late, t[who], 0.0)
                return self.values(psi, who), by

        return Solver()


@pytest.mark.parametrize("occasions", [False, True])
@pytest.mark.parametrize("mixture", [False, True])
@pytest.mark.parametrize("centred", [False, True])
def test_derivatives_of_the_joint_density_are_exact(occasions, mixture, centred):
    bound = rich(occasions, mixture)
    priors = bayes_priors(
        bound.model, {"c": LogNormal(-1.0, 0.5), "omega c": HalfCauchy(0.3), "conc a": HalfCauchy(0.2)}
    )
    joint = Joint(bound, packing(bound.model), priors, centred)
    rng = np.random.default_rng(1)
    b = 0.1 * rng.standard_normal((4, bound.size))
    vector = joint.vector(start(bound.model), b)
    np.testing.assert_allclose(joint.effects(vector), b, atol=1e-12)
    vector = vector + 0.05 * rng.standard_normal(len(joint))
    logp, slope = joint(vector)
    numeric = [(joint(vector + h)[0] - joint(vector - h)[0]) / 2e-6 for h in 1e-6 * np.eye(len(joint))]
    assert np.isfinite(logp)
    np.testing.assert_allclose(slope, numeric, rtol=2e-5, atol=2e-5)


def test_centred_and_whitened_densities_differ_by_the_jacobian():
    bound = rich(False, False)
    pack = packing(bound.model)
    priors = bayes_priors(bound.model)
    population = start(bound.model)
    b = 0.1 * np.random.default_rng(2).standard_normal((4, bound.size))
    values = [
        Joint(bound, pack, priors, c)(Joint(bound, pack, priors, c).vector(population, b))[0] for c in (True, False)
    ]
    root = np.linalg.cholesky(population.omega)
    assert values[1] - values[0] == pytest.approx(4 * np.log(np.diag(root)).sum(), rel=1e-9)


def test_priors_in_natural_values_carry_their_jacobian():
    bound = rich(False, False)
    pack, population = packing(bound.model), start(bound.model)
    base = log_prior(pack, bayes_priors(bound.model), population)[0]
    given = log_prior(pack, bayes_priors(bound.model, {"c": HalfCauchy(1.0)}), population)[0]
    phi = np.log(0.3)
    by_default = stats.norm.logpdf(phi, phi, 2.0)
    assert given - base == pytest.approx(stats.halfcauchy.logpdf(0.3) + phi - by_default, rel=1e-9)
    with pytest.raises(ModelError, match="nobody"):
        bayes_priors(bound.model, {"nobody": Normal()})


def fixed_lines():
    """The line with known variances: the posterior of the typical values is normal, in closed form."""
    _, records = lines(8)
    model = nlme_model(
        Line(), [Individual("a", 1.0, NORMAL, iiv=1.0, iiv_fixed=True, prior=Prior(0.0, 2.0)),
                 Individual("c", 0.5, NORMAL, iiv=0.3, iiv_fixed=True, prior=Prior(0.0, 1.0))],
        [Observation("y", "y", "additive", ERROR, fixed=True)],
    )  # fmt: skip
    return model, records


def test_the_sampler_has_the_closed_form_of_a_normal_population():
    model, records = fixed_lines()
    got = fit_nuts(model, records, 1, chains=2, draws=250, tune=150)
    omega = np.diag([1.0, 0.09])
    precision, shift = np.diag([1 / 4.0, 1.0]), np.zeros(2)
    for s in records.subjects:
        x = np.stack([np.ones(5), s.observations["time_h"]], axis=1)
        inverse = np.linalg.inv(x @ omega @ x.T + ERROR**2 * np.eye(5))
        precision = precision + x.T @ inverse @ x
        shift = shift + x.T @ inverse @ s.observations["value"].to_numpy()
    covariance = np.linalg.inv(precision)
    mean, sd = covariance @ shift, np.sqrt(np.diag(covariance))
    summary = got.summary.set_index("name")
    assert np.abs((summary.loc[["a", "c"], "mean"] - mean) / sd).max() < 0.2
    np.testing.assert_allclose(summary.loc[["a", "c"], "sd"], sd, rtol=0.15)
    assert got.fit.method == "nuts"
    assert got.fit.effects.mode.shape == (8, 2)
    assert np.isnan(summary.loc["omega a", "r_hat"])  # fixed
    assert len(got.table) == 500
    assert not got.sampled.diverged.any()


def test_draws_do_not_depend_on_cores_and_are_written(tmp_path):
    model, records = fixed_lines()
    runs = [fit_nuts(model, records, 2, chains=2, draws=50, tune=50, cores=c) for c in (1, 2)]
    np.testing.assert_array_equal(runs[0].sampled.draws, runs[1].sampled.draws)
    assert any(m.startswith("Not settled") and "Raise draws" in m for m in runs[0].fit.messages)
    assert not runs[0].fit.converged
    runs[0].write_draws(tmp_path / "draws.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "draws.parquet"), runs[0].table)


def test_divergences_are_counted_and_answered():
    """Neal's funnel: its neck throws trajectories out."""

    def funnel(x):
        v, rest = x[0], x[1:]
        logp = -v * v / 18 - 0.5 * (rest @ rest) * np.exp(-v) - 0.5 * len(rest) * v
        by_v = -v / 9 + 0.5 * (rest @ rest) * np.exp(-v) - 0.5 * len(rest)
        return float(logp), np.concatenate([[by_v], -rest * np.exp(-v)])

    got = sample_density(funnel, np.full((2, 6), 0.5), 3, draws=400, tune=200, accept=0.6)
    assert got.diverged.any()


def test_a_start_without_likelihood_is_refused_with_names():
    model, records = fixed_lines()
    with pytest.raises(ModelError, match="finite joint density"):
        fit_nuts(model, records, 1, priors={"a": Uniform(5.0, 6.0)}, chains=2, draws=50, tune=50)
    with pytest.raises(ModelError, match="2 or more"):
        fit_nuts(model, records, 1, chains=1)


def test_the_variational_posterior_of_a_line_is_exact():
    fit, records = lines()
    got = variational_posterior(bind(fit.model, records), fit.population, 1)
    for i, s in enumerate(records.subjects):
        mean, covariance, evidence = line_posterior(s)
        np.testing.assert_allclose(got.mean[i], mean, atol=1e-8)
        np.testing.assert_allclose(got.covariance[i], covariance, atol=1e-8)
        assert got.bound[i] == pytest.approx(evidence, abs=1e-8)
    assert got.arrived.all()
    assert got.effects().kind == "variational"


def test_the_variational_posterior_beats_laplace_where_posteriors_are_skewed():
    fit, records, _ = decays(30)
    bound = bind(fit.model, records)
    got = variational_posterior(bound, fit.population, 1, points=32, iterations=30)
    from icans.population.fit.modes import find_modes

    modes = find_modes(bound, fit.population)
    grids = [on_grid(fit, records, i) for i in range(30)]
    truth = np.stack([g[0] for g in grids])
    off = {n: np.abs(m - truth[:, :, 0]) / truth[:, :, 1] for n, m in (("v", got.mean), ("l", modes.mode))}
    assert np.sqrt((off["v"] ** 2).mean()) < 0.5 * np.sqrt((off["l"] ** 2).mean())
    assert off["v"].max() < 0.3
    evidence = np.array([g[1] for g in grids])
    assert (got.bound < evidence + 0.05).all()  # a lower bound
    assert np.abs(got.bound - evidence).max() < 0.3


def test_a_patient_without_likelihood_keeps_the_population():
    fit, records, _ = decays(2)
    low = replace(fit.population, typical=fit.population.typical + np.array([0.0, 9.0]))  # nothing can be solved
    got = variational_posterior(bind(fit.model, records), low, 1)
    assert set(got.failed) == set(records.ids)
    np.testing.assert_allclose(got.covariance[0], low.omega, rtol=1e-10)


def test_the_means_of_effects_are_those_of_the_posterior():
    """With typical values all but known, the sampled effects are the individual posteriors of the closed form."""
    _, records = lines(4)
    model = nlme_model(
        Line(), [Individual("a", 1.0, NORMAL, iiv=1.0, iiv_fixed=True, fixed=True),
                 Individual("c", 0.5, NORMAL, iiv=0.3, iiv_fixed=True, prior=Prior(0.5, 1e-3))],
        [Observation("y", "y", "additive", ERROR, fixed=True)],
    )  # fmt: skip
    got = fit_nuts(model, records, 4, chains=2, draws=250, tune=150)
    bound = bind(model, records)
    assert phi_of(bound, means(bound, start(model)), np.zeros((4, 2))).shape == (4, 1, 2)
    for i, s in enumerate(records.subjects):
        x = np.stack([np.ones(5), s.observations["time_h"]], axis=1)
        covariance = np.linalg.inv(np.linalg.inv(np.diag([1.0, 0.09])) + x.T @ x / ERROR**2)
        mean = covariance @ x.T @ (s.observations["value"].to_numpy() - x @ [1.0, 0.5]) / ERROR**2
        assert np.abs((got.fit.effects.mode[i] - mean) / np.sqrt(np.diag(covariance))).max() < 0.25
        np.testing.assert_allclose(np.diag(got.fit.effects.covariance[i]), np.diag(covariance), rtol=0.3)
    assert OMEGA.shape == (2, 2)
