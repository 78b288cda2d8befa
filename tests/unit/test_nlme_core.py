"""Declaration, records, packing and likelihood of population models, on a closed form written here."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from icans.core.errors import ModelError
from icans.population.nlme.likelihood import bind, local, log_likelihood, means, phi_of, prior_logp
from icans.population.nlme.model import Effect, Individual, Mixture, nlme_model
from icans.population.nlme.observed import Observation, Outcome
from icans.population.nlme.population import Population, packing, start
from icans.population.nlme.records import Subject, make_records
from icans.population.nlme.scales import Scale
from icans.population.nlme.simulating import simulate_observations, simulated_records


class Decay:
    """``y = a exp(-k t)``; on occasion 2 with its own k after 10 h (a is shared)."""

    parameters = ("a", "k", "risk")
    outputs = ("y",)

    def bind(self, subjects, time_h, output):
        return self._Solver(np.nan_to_num(time_h), [s.occasions for s in subjects])

    class _Solver:
        def __init__(self, time_h, occasions):
            self.t = time_h

        def _parts(self, psi, who):
            t = self.t[who]
            late = (t > 10.0) if psi.shape[1] > 1 else np.zeros_like(t, bool)
            first = np.where(late, 10.0, t)
            return first, np.where(late, t - 10.0, 0.0)

        def values(self, psi, who):
            first, rest = self._parts(psi, who)
            return psi[:, 0, :1] * np.exp(-psi[:, 0, 1:2] * first - psi[:, -1, 1:2] * rest)

        def derivatives(self, psi, who):
            first, rest = self._parts(psi, who)
            y = self.values(psi, who)
            by = np.zeros((*y.shape, psi.shape[1], 3))
            by[:, :, 0, 0] = y / psi[:, 0, :1]
            by[:, :, 0, 1] += -first * y
            by[:, :, -1, 1] += -rest * y
            return y, by


def example(*, occasions=False, **more):
    times = [0.5, 2.0, 5.0, 9.0, 12.0, 20.0]
    subjects = []
    for i in range(5):
        rows = [(t, "conc", 8 * np.exp(-0.1 * t) + 0.1 * i, "none") for t in times]
        rows += [(30.0, "conc", 0.5, "left"), (12.0, "grade", i % 3, "none"), (24.0, "grade", (i + 1) % 3, "none"),
                 (15.0, "sick", 15.0 + i, "none" if i % 2 else "right")]  # fmt: skip
        table = pd.DataFrame(rows, columns=["time_h", "observable", "value", "censor"])
        starts = (0.0, 10.0) if occasions else ()
        subjects.append(Subject(f"s{i}", table, (), {"age": 50.0 + 5 * i, "male": i % 2}, starts))
    model = nlme_model(
        Decay(),
        [Individual("a", 8.0, iiv=0.3), Individual("k", 0.1, iiv=0.2, iov=0.1 if occasions else 0.0),
         Individual("risk", 0.0, Scale("normal"), iiv=0.5, fixed=True)],
        [Observation("conc", "y", "combined", 0.2, 0.1),
         Outcome("grade", "y", "ordinal", (0.0, 1.5), 0.3, link="log", frailty="risk", memory=0.4),
         Outcome("sick", "y", "event", (-4.0,), 0.2)],
        blocks=[("a", "k")], effects=[Effect("a", "age", "log", 0.2, 50.0), Effect("k", "male", "flag", 0.1)], **more,
    )  # fmt: skip
    return bind(model, make_records(subjects))


@pytest.mark.parametrize("occasions", [False, True])
def test_score_and_errors_are_derivatives_of_the_log_likelihood(occasions):
    bound = example(occasions=occasions)
    population = start(bound.model)
    rng = np.random.default_rng(1)
    who = np.array([0, 1, 2, 3, 4, 2, 2])
    chosen = bound.rows.select(who)
    phi = phi_of(bound, means(bound, population)[who], 0.3 * rng.standard_normal((7, bound.size)))
    got = local(bound, population, phi, chosen)
    np.testing.assert_allclose(got.logp, log_likelihood(bound, population, phi, chosen), rtol=1e-13)
    h = 1e-6
    for o in range(phi.shape[1]):
        for p in range(3):
            step = np.zeros_like(phi)
            step[:, o, p] = h
            high = log_likelihood(bound, population, phi + step, chosen)
            numeric = (high - log_likelihood(bound, population, phi - step, chosen)) / (2 * h)
            np.testing.assert_allclose(got.score[:, o, p], numeric, rtol=1e-6, atol=1e-6)
    for j in range(len(population.errors)):
        step = np.eye(len(population.errors))[j] * h
        sides = [Population(**{**population.__dict__, "errors": population.errors + s * step}) for s in (1, -1)]
        high, low = (log_likelihood(bound, side, phi, chosen) for side in sides)
        np.testing.assert_allclose(got.errors[:, j], (high - low) / (2 * h), rtol=1e-6, atol=1e-6)


def test_the_hazard_is_integrated():
    bound = example()
    population = start(bound.model)
    phi = phi_of(bound, means(bound, population), np.zeros((5, bound.size)))
    psi_a, psi_k = np.exp(phi[0, 0, 0]), np.exp(phi[0, 0, 1])
    t = np.linspace(0, 15.0, 20001)
    wanted = np.trapezoid(np.exp(-4.0 + 0.2 * psi_a * np.exp(-psi_k * t)), t)
    at = np.isin(bound.rows.role[0], [4]) & (bound.rows.observed[0] == 2)
    y = bound.solver.values(np.exp(phi) * [1, 1, 0], np.arange(5))[0, at]
    got = (bound.rows.weight[0, at] * np.exp(-4.0 + 0.2 * y)).sum()
    assert got == pytest.approx(wanted, rel=1e-4)


def test_random_effects_have_the_normal_density():
    bound = example(occasions=True)
    population = start(bound.model)
    b = np.random.default_rng(2).standard_normal((4, bound.size))
    cov = np.diag([0.09, 0.04, 0.25, 0.01, 0.01])
    np.testing.assert_allclose(
        prior_logp(bound, population, b), stats.multivariate_normal(np.zeros(5), cov).logpdf(b), rtol=1e-12
    )


@pytest.mark.parametrize("occasions", [False, True])
def test_packing_goes_there_and_back_and_its_gradient_is_the_chain_rule(occasions):
    mixture = Mixture(("usual", "low"), (0.7, 0.3), {"a": (-1.0,)})
    pack = packing(example(occasions=occasions, mixture=mixture).model)
    rng = np.random.default_rng(3)
    v = 0.3 * rng.standard_normal(len(pack))
    np.testing.assert_allclose(pack.pack(pack.unpack(v)), v, atol=1e-12)
    here = pack.unpack(v)
    parts = ("typical", "effects", "omega", "gamma", "errors", "shares", "shifts")
    weight = {n: rng.standard_normal(getattr(here, n).shape) for n in parts}
    for n in ("omega", "gamma"):
        weight[n] = (weight[n] + weight[n].T) / 2

    def total(x):
        return sum((weight[n] * getattr(pack.unpack(x), n)).sum() for n in parts)

    numeric = [(total(v + 1e-6 * e) - total(v - 1e-6 * e)) / 2e-6 for e in np.eye(len(v))]
    np.testing.assert_allclose(pack.gradient(v, Population(**weight)), numeric, rtol=1e-7, atol=1e-8)
    assert len(pack.names) == len(set(pack.names)) == len(v)


def test_simulated_records_have_the_design_and_the_limits_and_can_be_bound():
    bound = example()
    population = start(bound.model)
    first, again = (simulated_records(bound, population, 4) for _ in range(2))
    assert first.digest() == again.digest() != simulated_records(bound, population, 5).digest()
    assert all(s.id.startswith("synthetic ") for s in first.subjects)
    assert len(bind(bound.model, first)) == 5
    table = first.frame()
    assert (table.loc[table["censor"] == "left", "value"] == 0.5).all()
    assert set(table.loc[table["observable"] == "grade", "value"]) <= {0.0, 1.0, 2.0}


def test_simulated_observations_have_the_moments_of_the_model():
    bound = example()
    population = start(bound.model)
    drawn = simulate_observations(bound, population, 6, 4000, b=np.zeros((4000, 5, bound.size)))
    at = np.flatnonzero((bound.rows.observed[0] == 0) & (bound.rows.role[0] == 0))
    f = drawn.predictions[0, 0, at]
    sd = np.sqrt(0.2**2 + (0.1 * f) ** 2)
    np.testing.assert_allclose(drawn.values[:, 0, at].mean(axis=0), f, atol=5 * sd.max() / 60)
    np.testing.assert_allclose(drawn.values[:, 0, at].std(axis=0), sd, rtol=0.06)
    cumulative = []
    for i in range(5):
        nodes = np.flatnonzero(bound.rows.role[i] == 4)
        cumulative.append((bound.rows.weight[i, nodes] * np.exp(-4.0 + 0.2 * drawn.predictions[0, i, nodes])).sum())
    happened = np.isfinite(drawn.events["sick"]).mean(axis=0)
    np.testing.assert_allclose(happened, 1.0 - np.exp(-np.array(cumulative)), atol=0.03)


BAD = [
    (dict(observable="other"), "observable"), (dict(value=np.nan), "value"), (dict(time_h="late"), "time_h"),
    (dict(censor="below"), "censor"), (dict(censor="interval"), "limit"),
    (dict(observable="grade", value=7.0), "grade"), (dict(observable="grade", value=0.5), "grade"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "named"), BAD, ids=lambda x: str(x))
def test_bad_records_are_named(change, named):
    good = {"time_h": 1.0, "observable": "conc", "value": 2.0, "censor": "none"}
    subjects = [Subject("x", pd.DataFrame([good, {**good, **change}]), (), {"age": 50.0, "male": 0})]
    with pytest.raises(ModelError) as caught:
        bind(example().model, make_records(subjects))
    assert any(named in str(p) and "x" in p.file for p in caught.value.problems)


def test_all_problems_of_all_subjects_are_told_at_once():
    table = pd.DataFrame({"time_h": [1.0], "observable": ["nothing"], "value": [2.0]})
    subjects = [Subject("x", table), Subject("y", table.iloc[:0])]
    with pytest.raises(ModelError) as caught:
        bind(example().model, make_records(subjects))
    assert len(caught.value.problems) == 2 + 4  # two covariates of each, too


def test_a_declaration_with_mistakes_is_refused_whole():
    with pytest.raises(ModelError) as caught:
        nlme_model(
            Decay(), [Individual("a", -1.0, iiv=0.1), Individual("b", 1.0)], [Observation("conc", "z")],
            blocks=[("a", "k")], effects=[Effect("q", "age", "cube")],
            mixture=Mixture(("one", "two"), (0.5, 0.6), {"z": (1.0,)}),
        )  # fmt: skip
    text = str(caught.value)
    assert all(word in text for word in ("'k'", "'risk'", "'b'", "'z'", "cube", "shares", "-1.0"))
