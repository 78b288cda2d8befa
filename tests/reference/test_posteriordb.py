"""Posteriors of posteriordb beside Stan's reference draws.

Few draws, so that the tests are quick; the fuller comparison is ``benchmarks/results/posteriordb.md``. Quantiles are
compared in SDs of the reference (a third of its 5-95 % range where the tail is heavy).
"""

import json

import numpy as np
import pytest

from icans.population.fit.nuts import summarise
from posteriordb_cases import NAMES, expected, fit_eight_schools, fit_michaelis_menten, mixture_density, sample_mixture


@pytest.fixture(scope="module")
def references(data_folder):
    folder = data_folder / "posteriordb_refs"
    if not folder.is_dir():
        pytest.skip("posteriordb_refs not here")
    return folder


@pytest.mark.timeout(900)
def test_michaelis_menten_elimination_has_the_quantiles_of_stan(references):
    got = fit_michaelis_menten(references, 3, chains=2, draws=400, tune=250)
    summary = got.summary.set_index("name").rename({"conc a": "sigma"})
    assert (summary["r_hat"] < 1.05).all()
    for name, row in expected(references, NAMES["michaelis_menten"]).iterrows():
        spread = (row["q95"] - row["q05"]) / (2 * 1.645)
        for level in ("q05", "q50", "q95"):
            # The upper quantile of K_m lies in a Cauchy tail.
            most = 0.7 if (name, level) == ("K_m", "q95") else 0.3
            assert abs(summary.loc[name, level] - row[level]) < most * spread, (name, level, summary.loc[name, level])


@pytest.mark.timeout(600)
def test_eight_schools_as_a_population(references):
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
