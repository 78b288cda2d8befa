"""The individual posterior against closed forms and quadrature."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from icans.core.errors import DataError, ModelError
from icans.population.nlme.likelihood import bind
from icans.population.nlme.model import Individual, Mixture, nlme_model
from icans.population.nlme.observed import Observation
from icans.population.nlme.population import start
from icans.population.nlme.records import Records, Subject, make_records
from icans.population.posterior.individual import individual_posterior
from icans.population.posterior.psis import effective, smoothed
from icans.population.posterior.updating import update
from icans.population.posterior.value import read_posterior, write_posterior
from posterior_cases import ERROR, NORMAL, OMEGA, Line, as_fit, decays, line_posterior, lines, on_grid

LEVELS = (0.05, 0.5, 0.95)


def exact(records, landmark_h):
    parts = [line_posterior(s, landmark_h) for s in records.subjects]
    mean, covariance = np.stack([p[0] for p in parts]), np.stack([p[1] for p in parts])
    return mean, np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)), covariance, np.array([p[2] for p in parts])


def quantile_error(posterior, mean, sd):
    wanted = mean[:, None, :] + stats.norm.ppf(LEVELS)[None, :, None] * sd[:, None, :]
    return np.abs(posterior.quantiles(LEVELS) - wanted) / sd[:, None, :]


@pytest.mark.parametrize("landmark", [3.0, 100.0])
@pytest.mark.parametrize(("method", "most"), [("laplace", 0.1), ("importance", 0.1), ("mcmc", 0.3)])
def test_normal_posteriors_are_those_of_the_closed_form(method, most, landmark):
    fit, records = lines()
    got = individual_posterior(fit, records, landmark, method=method, seed=1, steps=400, warmup=100, thin=3)
    mean, sd, covariance, evidence = exact(records, landmark)
    np.testing.assert_allclose(got.mode, mean, atol=1e-8)
    np.testing.assert_allclose(got.covariance, covariance, atol=1e-8)
    assert quantile_error(got, mean, sd).max() < most
    np.testing.assert_allclose(got.log_evidence, evidence, atol=1e-9 if method == "laplace" else 0.01)
    assert set(got.method) == {method}


def test_sparse_censored_posteriors_are_those_of_quadrature():
    fit, records, _ = decays(12)
    weighted = individual_posterior(fit, records, np.inf, seed=2)
    normal = individual_posterior(fit, records, np.inf, method="laplace", seed=2)
    chained = individual_posterior(fit, records, np.inf, method="mcmc", seed=2, draws=2000, steps=500, thin=2)
    assert (weighted.k_hat < 0.7).all()
    away = {"weighted": [], "normal": [], "chained": []}
    for i in range(len(records)):
        truth, evidence = on_grid(fit, records, i)
        assert abs(weighted.log_evidence[i] - evidence) < 0.02
        for name, got in (("weighted", weighted), ("normal", normal), ("chained", chained)):
            q = got.quantiles(LEVELS)[i].T
            away[name].append(np.abs(q - truth[:, 2:]) / truth[:, 1:2])
    assert np.max(away["weighted"]) < 0.2
    assert np.sqrt(np.mean(np.square(away["weighted"]))) < 0.05
    assert np.max(away["chained"]) < 0.4
    assert np.mean(away["weighted"]) < np.mean(away["normal"])  # the posterior is not normal, and the weights see it


def test_nothing_known_leaves_the_population():
    fit, records = lines(2)
    got = individual_posterior(fit, records, -1.0, seed=1)
    assert got.method == ("prior", "prior")
    assert quantile_error(got, np.zeros((2, 2)), np.tile(np.sqrt(np.diag(OMEGA)), (2, 1))).max() < 0.08
    np.testing.assert_array_equal(got.log_evidence, 0.0)


def test_a_patient_without_likelihood_is_named_and_the_others_go_on():
    fit, records, _ = decays(3)
    strange = replace(records.subjects[1], id="strange")
    fit = replace(fit, model=replace(fit.model, structural=Broken(fit.model.structural)))
    got = individual_posterior(fit, Records((records.subjects[0], strange, records.subjects[2])), np.inf, seed=4)
    assert got.method == ("importance", "failed", "importance")
    assert "strange" in got.messages[1]
    assert "Check units" in got.messages[1]
    assert got.log_evidence[1] == -np.inf
    alone = individual_posterior(fit, Records((records.subjects[2],)), np.inf, seed=4)
    np.testing.assert_allclose(alone.draws[0], got.draws[2], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(alone.log_weights[0], got.log_weights[2], rtol=1e-8, atol=1e-8)


class Broken:
    """A structural model that cannot be solved for the subject named strange."""

    def __init__(self, inner):
        self.inner, self.parameters, self.outputs = inner, inner.parameters, inner.outputs

    def bind(self, subjects, time_h, output):
        solver = self.inner.bind(subjects, time_h, output)
        bad = np.array([s.id == "strange" for s in subjects])

        class Solver:
            def values(self, psi, who):
                return np.where(bad[who][:, None], np.nan, solver.values(psi, who))

            def derivatives(self, psi, who):
                y, by = solver.derivatives(psi, who)
                return np.where(bad[who][:, None], np.nan, y), by

        return Solver()


def test_latent_classes_have_the_probabilities_of_bayes():
    model = nlme_model(
        Line(), [Individual("a", 1.0, NORMAL, iiv=0.5), Individual("c", 0.0, NORMAL, fixed=True)],
        [Observation("y", "y", "additive", 1.0)], mixture=Mixture(("usual", "low"), (0.7, 0.3), {"a": (-2.0,)}),
    )  # fmt: skip
    values = (1.5, 0.0, -0.4, -2.0)
    records = make_records([
        Subject(f"p{i}", pd.DataFrame({"time_h": [0.0], "observable": "y", "value": [y]}))
        for i, y in enumerate(values)
    ])  # fmt: skip
    got = individual_posterior(as_fit(model, start(model), records.ids), records, 1.0, seed=1)
    sd = np.sqrt(0.25 + 1.0)
    joint = np.stack([0.7 * stats.norm.pdf(values, 1.0, sd), 0.3 * stats.norm.pdf(values, -1.0, sd)], axis=1)
    np.testing.assert_allclose(got.class_probability(), joint / joint.sum(axis=1, keepdims=True), atol=0.01)
    np.testing.assert_allclose(got.log_evidence, np.log(joint.sum(axis=1)), atol=0.01)
    share = joint / joint.sum(axis=1, keepdims=True)
    mean = (share * (np.subtract.outer(values, [1.0, -1.0]) * 0.25 / 1.25)).sum(axis=1)
    np.testing.assert_allclose(got.mean[:, 0], mean, atol=0.02)


def test_smoothed_weights_are_those_of_arviz():
    from arviz_stats.base.array import array_stats

    rng = np.random.default_rng(0)
    for df in (2, 5, 30):
        raw = rng.standard_t(df, size=(20, 512))
        weights, k_hat = smoothed(raw)
        theirs, k = array_stats.psislw(-raw)
        np.testing.assert_allclose(weights, theirs, atol=1e-8)
        np.testing.assert_allclose(k_hat, k, atol=1e-8)
    raw = np.zeros((3, 512))
    raw[1, 4:] = -np.inf
    raw[2] = -np.inf
    weights, k_hat = smoothed(raw)
    assert k_hat[0] == 0.0
    assert np.isinf(k_hat[1:]).all()
    np.testing.assert_allclose(effective(weights), [512.0, 4.0, 512.0])


def test_updating_is_the_posterior_at_the_later_landmark():
    fit, records = lines()
    now = individual_posterior(fit, records, 3.0, seed=1)
    for landmark in (5.0, 7.0, 100.0):
        now = update(now, fit, records, landmark, seed=2)
        mean, sd, _, evidence = exact(records, landmark)
        assert quantile_error(now, mean, sd).max() < 0.15
        np.testing.assert_allclose(now.log_evidence, evidence, atol=0.05)
    assert set(now.method) == {"updated"}
    assert update(now, fit, records, 200.0, seed=3).draws is now.draws


def test_updating_moves_draws_that_a_surprise_leaves_behind():
    fit, records = lines(1)
    now = individual_posterior(fit, records, 7.0, seed=1)
    seen = records.subjects[0].observations
    shock = seen.assign(value=np.where(seen["time_h"] == 8.0, 15.0, seen["value"]))
    changed = make_records([replace(records.subjects[0], observations=shock)])
    later = update(now, fit, changed, 100.0, seed=2)
    mean, sd, _, _ = exact(changed, 100.0)
    assert quantile_error(later, mean, sd).max() < 0.2
    assert later.effective[0] > 0.3 * 1024


def test_a_laplace_posterior_can_be_updated():
    fit, records = lines(2)
    now = individual_posterior(fit, records, 3.0, method="laplace", seed=1)
    assert np.isnan(now.log_likelihood).all()
    later = update(now, fit, records, 5.0, seed=1)
    mean, sd, _, _ = exact(records, 5.0)
    assert quantile_error(later, mean, sd).max() < 0.1


def test_a_posterior_is_written_and_read(tmp_path):
    fit, records = lines(2)
    got = individual_posterior(fit, records, 3.0, seed=1, draws=64)
    write_posterior(got, tmp_path / "p")
    again = read_posterior(tmp_path / "p")
    for name in got.__dataclass_fields__:
        one, two = getattr(got, name), getattr(again, name)
        assert np.array_equal(one, two) if isinstance(one, np.ndarray) else one == two, name
    assert again.provenance.synthetic
    table = pd.read_parquet(tmp_path / "p" / "draws.parquet")
    table.assign(log_weight=0.0).to_parquet(tmp_path / "p" / "draws.parquet", index=False)
    with pytest.raises(DataError, match="table written with it"):
        read_posterior(tmp_path / "p")


def test_mistakes_are_named():
    fit, records = lines(2)
    with pytest.raises(ModelError) as caught:
        individual_posterior(fit, records, 3.0, method="guess", seed=1, draws=3)
    assert "guess" in str(caught.value)
    assert "32 or more" in str(caught.value)
    got = individual_posterior(fit, records, 3.0, seed=1, draws=64)
    other = replace(fit, population=replace(fit.population, errors=np.array([ERROR + 0.1])))
    with pytest.raises(ModelError) as caught:
        update(got, other, records.subset([0]), 1.0, seed=1)
    text = str(caught.value)
    assert "the fit of the posterior" in text
    assert "synthetic 1" in text
    assert "3 h or later" in text


def test_occasions_have_effects_of_their_own():
    model = nlme_model(
        Line(), [Individual("a", 1.0, NORMAL, iiv=0.8, iov=0.5), Individual("c", 0.0, NORMAL, fixed=True)],
        [Observation("y", "y", "additive", 0.5)],
    )  # fmt: skip
    table = pd.DataFrame({"time_h": [1.0, 2.0], "observable": "y", "value": [2.0, 2.4]})
    records = make_records([Subject("p", table, (), {}, (0.0,))])
    got = individual_posterior(as_fit(model, start(model), ("p",)), records, 5.0, seed=1)
    assert got.names == ("eta a", "kappa a 1")
    # Both effects add: the sum has variance 0.64 + 0.25 before data, and is shared in proportion.
    precision = 1 / 0.89 + 2 / 0.25
    total = ((2.0 - 1.0) + (2.4 - 1.0)) / 0.25 / precision
    np.testing.assert_allclose(got.mode[0], [total * 0.64 / 0.89, total * 0.25 / 0.89], rtol=1e-6)
    assert bind(model, records, empty=True).size == 2
