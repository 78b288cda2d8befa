"""Posteriors of posteriordb beside Stan's reference draws.

Few draws, so that the tests are quick; the fuller comparison is ``benchmarks/results/posteriordb.md``. Quantiles are
compared in SDs of the reference (a third of its 5-95 % range where the tail is heavy).
"""

import json

import numpy as np
import pytest
from scipy import stats

from icans.population.fit.nuts import summarise
from icans.population.nlme.likelihood import bind
from posteriordb_cases import (
    NAMES,
    expected,
    fit_eight_schools,
    fit_michaelis_menten,
    michaelis_menten,
    mixture_density,
    sample_mixture,
)  # fmt: skip


@pytest.fixture(scope="module")
def references(data_folder):
    folder = data_folder / "posteriordb_refs"
    if not folder.is_dir():
        pytest.skip("posteriordb_refs not here")
    return folder


def test_the_density_of_michaelis_menten_elimination_integrates_to_the_quantiles_of_stan(references):
    """No sampler: the joint density's likelihood and priors on even points over a box, weighed."""
    model, records = michaelis_menten(references)
    y = records.subjects[0].observations["value"].to_numpy()
    u = stats.qmc.Sobol(3, rng=np.random.default_rng(1)).random(2**14)
    log_k_a, log_k_m = -0.8 + 1.1 * u[:, 0], -9.0 + 17.0 * u[:, 1]
    # Along the ridge on which elimination at the levels seen (about 11) is the same.
    log_v_m = -1.2 + 1.9 * u[:, 2] + np.log((np.exp(log_k_m) + 11.0) / 11.0)
    psi = np.exp(np.stack([log_k_a, log_k_m, log_v_m], axis=1))
    f = bind(model, records).solver.values(psi[:, None, :], np.zeros(len(u), dtype=int))
    square = ((np.log(y) - np.log(f)) ** 2).sum(axis=1)
    log_s = np.linspace(-3.2, -0.8, 161)
    logp = (
        -len(y) * log_s - 0.5 * square[:, None] / np.exp(2.0 * log_s) + stats.halfcauchy.logpdf(np.exp(log_s)) + log_s
    )
    logp += (stats.halfcauchy.logpdf(psi) + np.log(psi)).sum(axis=1)[:, None]
    weight = np.exp(logp - logp.max())
    wanted = expected(references, NAMES["michaelis_menten"])
    found = {n: (psi[:, j], weight.sum(axis=1)) for j, n in enumerate(("k_a", "K_m", "V_m"))}
    found["sigma"] = (np.exp(log_s), weight.sum(axis=0))
    for name, (x, w) in found.items():
        order = np.argsort(x)
        q = np.interp([0.05, 0.5, 0.95], np.cumsum(w[order]) / w.sum(), x[order])
        spread = (wanted.loc[name, "q95"] - wanted.loc[name, "q05"]) / (2 * 1.645)
        assert (np.abs(q - wanted.loc[name, ["q05", "q50", "q95"]].to_numpy(float)) < 0.12 * spread).all(), (name, q)


@pytest.mark.timeout(900)
def test_michaelis_menten_elimination_has_the_quantiles_of_stan(references, full):
    got = fit_michaelis_menten(references, 3, chains=2, draws=400, tune=250)
    summary = got.summary.set_index("name").rename({"conc a": "sigma"})
    assert (summary["r_hat"] < 1.05).all()
    for name, row in expected(references, NAMES["michaelis_menten"]).iterrows():
        spread = (row["q95"] - row["q05"]) / (2 * 1.645)
        for level in ("q05", "q50", "q95"):
            # K_m and V_m rise together far out, in a Cauchy tail that a short run visits seldom.
            most = 1.3 if name in ("K_m", "V_m") and level == "q95" else 0.3
            assert abs(summary.loc[name, level] - row[level]) < most * spread, (name, level, summary.loc[name, level])


@pytest.mark.timeout(600)
def test_eight_schools_as_a_population(references, full):
    got = fit_eight_schools(references, 5, chains=3, draws=500, tune=250, accept=0.9)
    wanted = expected(references, NAMES["eight_schools"])
    summary = got.summary.set_index("name").rename({"theta": "mu", "omega theta": "tau"})
    for name in ("mu", "tau"):
        row = wanted.loc[name]
        for level in ("q05", "q50", "q95"):
            assert abs(summary.loc[name, level] - row[level]) < 0.3 * row["sd"], (name, level)
    theta = got.fit.effects.mode[:, 0] + summary.loc["mu", "mean"]
    reference = wanted.loc[[f"theta[{i}]" for i in range(1, 9)]]
    np.testing.assert_allclose(theta, reference["mean"], atol=0.2 * reference["sd"].max())
    assert any("omega theta reaches down to 0" in m for m in got.fit.messages)


def test_the_sampler_on_a_gaussian_mixture(references):
    y = np.array(json.loads((references / "low_dim_gauss_mix.data.json").read_text(encoding="utf-8"))["y"])
    density, start = mixture_density(y), np.array([-2.0, 1.5, 0.0, 0.0, 0.0])
    numeric = [(density(start + h)[0] - density(start - h)[0]) / 2e-6 for h in 1e-6 * np.eye(5)]
    np.testing.assert_allclose(density(start)[1], numeric, rtol=1e-5)
    summary = summarise(sample_mixture(references, 7, chains=4, draws=700, tune=300)).set_index("name")
    wanted = expected(references, NAMES["mixture"])
    assert (summary["r_hat"] < 1.02).all()
    for level in ("q05", "q50", "q95"):
        np.testing.assert_array_less(np.abs(summary.loc[wanted.index, level] - wanted[level]) / wanted["sd"], 0.15)
