"""The likelihood that SAEM samples with, and its M-step for everything that has no closed form (synthetic data)."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from icans.population.fit.evaluator import Evaluator
from icans.population.fit.focei import FoceiSettings, fit_laplace
from icans.population.fit.importance import importance_likelihood
from icans.population.fit.saem import SaemSettings, fit_saem
from icans.population.nlme.likelihood import bind, local, log_likelihood, means, phi_of
from icans.population.nlme.model import Individual, nlme_model
from icans.population.nlme.observed import Observation, Outcome
from icans.population.nlme.population import packing, start
from icans.population.nlme.records import Subject, make_records
from icans.population.nlme.simulating import simulated_records
from line_cases import NORMAL, Line

TIMES = [0.5, 2.0, 4.0, 6.0, 9.0]


def case(observed, subjects=6, seed=1, censored=True, a=5.0):
    rng = np.random.default_rng(seed)
    people = []
    for i in range(subjects):
        rows = []
        for o in observed:
            if isinstance(o, Outcome):
                if o.kind == "event":
                    rows.append((8.0, o.name, 4.0 + i % 5, "none" if i % 2 else "right", np.nan, ""))
                else:
                    rows += [(t, o.name, float((i + j) % 3), "none", np.nan, "") for j, t in enumerate(TIMES)]
                continue
            for j, t in enumerate(TIMES):
                word = ("none", "left", "right", "interval")[j % 4] if censored else "none"
                value = a + 0.3 * t + rng.normal()
                rows.append((t, o.name, value, word, value + 1.0, "other" if (i + j) % 2 and o.batches else ""))
        frame = pd.DataFrame(rows, columns=["time_h", "observable", "value", "censor", "limit", "batch"])
        people.append(Subject(f"{i}", frame))
    model = nlme_model(
        Line(), [Individual("a", a, NORMAL, iiv=1.0), Individual("k", 0.3, NORMAL, iiv=0.3)], list(observed)
    )
    return model, make_records(people)


OBSERVED = {e: (Observation("y", "y", e, 0.7, 0.2),) for e in ("additive", "combined", "combined1", "student")}
OBSERVED |= {
    "proportional with a floor": (Observation("y", "y", "proportional", b=0.2, floor=0.5),),
    "two with batches": (Observation("y", "y", "lognormal", 0.3, floor=0.1, batches=("other",)),
                         Observation("w", "y", "combined", 0.3, 0.1, batches=("other", "more"))),
    "M4": (Observation("y", "y", "additive", 0.7, censoring="M4"),),
    "outcomes": (Observation("y", "y", "additive", 0.7), Outcome("g", "y", "ordinal", (0.0, 1.0), 0.2, memory=0.3),
                 Outcome("n", "y", "count", (0.1,), 0.1, dispersion=0.5), Outcome("e", "y", "event", (-3.0,), 0.1)),
}  # fmt: skip


@pytest.mark.parametrize("name", OBSERVED)
def test_the_evaluator_gives_the_likelihood_and_its_slopes(name):
    model, records = case(OBSERVED[name])
    bound, population = bind(model, records), start(model)
    rng = np.random.default_rng(2)
    population.errors[:] = population.errors * (1.0 + 0.1 * rng.random(len(population.errors))) + 0.01
    who = np.tile(np.arange(6), 3)
    evaluator = Evaluator(bound, who)
    phi = phi_of(bound, means(bound, population)[who], rng.standard_normal((18, 2)) * [1.0, 0.1])
    f = evaluator.outputs(phi)
    chosen = bound.rows.select(who)
    wanted = local(bound, population, phi, chosen)
    np.testing.assert_allclose(evaluator.log_likelihood(population, phi, f), wanted.logp, rtol=1e-9)
    np.testing.assert_allclose(log_likelihood(bound, population, phi, chosen), wanted.logp, rtol=1e-12)
    got = evaluator.scores(population, phi, f)
    np.testing.assert_allclose(got.score, wanted.errors, rtol=1e-8, atol=1e-9)
    assert evaluator.fast == (name not in ("student", "M4", "outcomes"))
    f[3] = np.nan
    assert evaluator.log_likelihood(population, phi, f)[3] == -np.inf


def test_far_tails_of_the_normal_are_those_of_scipy():
    from scipy.special import log_ndtr as wanted

    from icans.population.fit.rows_fast import log_ndtr

    z = np.array([-300.0, -40.0, -12.0, -8.1, -7.9, -3.0, 0.0, 2.0, 9.0])
    np.testing.assert_allclose([log_ndtr(x) for x in z], wanted(z), rtol=1e-7)


FITTED = {
    "batches": ((Observation("y", "y", "lognormal", 0.2, floor=0.0, batches=("other",)),), dict(below=7.0)),
    "grades and events": ((Observation("y", "y", "additive", 0.5), Outcome("g", "y", "ordinal", (4.0, 6.0), 1.0),
                           Outcome("e", "y", "event", (-4.0,), 0.3)), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", FITTED)
def test_estimates_agree_with_laplace(name):
    observed, how = FITTED[name]
    model, records = case(observed, subjects=40, censored=False, a=how.get("a", 8.0))
    if "below" in how:
        people = [replace(s, observations=s.observations.assign(limit=how["below"])) for s in records.subjects]
        records = make_records(people)
    truth = start(model)
    for j, e in enumerate(bind(model, records).layout):
        if e.field == "batch":
            truth.errors[j] = 0.3
    records = simulated_records(bind(model, records), truth, 11)
    quick = SaemSettings(importance=0, smooth=100, final=60)
    fit = fit_saem(model, records, seed=1, settings=quick)
    other = fit_laplace(model, records, settings=FoceiSettings(covariance="R"))
    # Neither is the exact maximum; by importance sampling SAEM's likelihood must not be the lower one.
    bound = bind(model, records)
    ours, theirs = (importance_likelihood(bound, f.population, None, 3, 1000) for f in (fit, other))
    assert ours.total > theirs.total - 0.2 - 3.0 * np.hypot(ours.total_se, theirs.total_se)
    se = np.sqrt(np.diag(other.covariance))
    assert np.abs((fit.vector - other.vector) / se).max() < 0.75
    ratio = np.sqrt(np.diag(fit.covariance)) / se
    assert np.median(np.abs(np.log(ratio))) < 0.2
    if "below" in how:
        assert (records.frame()["censor"] == "left").sum() >= 5


PROFILED = {
    "student": (Observation("y", "y", "student", 0.5), 8.0, -np.inf),
    "combined, censored": (Observation("y", "y", "combined", 0.6, 0.2), 3.0, 1.5),
}


@pytest.mark.parametrize("name", PROFILED)
def test_the_likelihood_falls_one_standard_error_away(name):
    """Where Laplace's exact Hessian is not positive at some modes, so that it cannot be the judge."""
    observed, a, below = PROFILED[name]
    model, records = case((observed,), subjects=40, censored=False, a=a)
    records = make_records([replace(s, observations=s.observations.assign(limit=below)) for s in records.subjects])
    records = simulated_records(bind(model, records), start(model), 11)
    assert (records.frame()["censor"] == "left").sum() >= (5 if below > 0.0 else 0)
    fit = fit_saem(model, records, seed=1, settings=SaemSettings(importance=0, smooth=100, final=60))
    bound, pack, se = bind(model, records), packing(model), np.sqrt(np.diag(fit.covariance))
    # The same draws everywhere: proposals of the estimates.
    heights = [
        importance_likelihood(bound, pack.unpack(fit.vector + step), fit.effects, 3, 400).total
        for step in (np.zeros(len(se)), *np.diag(se), *-np.diag(se))
    ]
    falls = (heights[0] - np.array(heights[1:])).reshape(2, -1)
    assert (falls > 0.0).all()
    # To second order both sides fall by half the squared SE times the information.
    expected = 0.5 * se**2 * np.diag(np.linalg.inv(fit.covariance))
    np.testing.assert_allclose(falls.mean(axis=0), expected, rtol=0.35)
