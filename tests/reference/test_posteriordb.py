"""Posteriors of posteriordb (github.com/stan-dev/posteriordb, BSD-3-Clause) beside Stan's 10,000 reference draws.

Their summaries were computed from the reference draws of posteriordb 28f8d3d; data and summaries lie in the folder of
public data. Quantiles are compared in SDs of the reference (in its 5-95 % range, where the tail is heavy).
"""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from icans.mechanism.declare import Builder
from icans.mechanism.model import assemble
from icans.mechanism.parameters import Parameter, ParameterTable
from icans.population.fit.distributions import HalfCauchy, Normal
from icans.population.fit.nuts import fit_nuts, sample_density, summarise
from icans.population.nlme.model import Individual, nlme_model
from icans.population.nlme.observed import Observation
from icans.population.nlme.ode import ode_model
from icans.population.nlme.records import Subject, make_records
from icans.population.nlme.scales import Scale


@pytest.fixture(scope="module")
def references(data_folder):
    folder = data_folder / "posteriordb_refs"
    if not folder.is_dir():
        pytest.skip("posteriordb_refs not here")
    return folder


def expected(folder, posterior):
    table = pd.read_csv(folder / "reference_summaries.csv")
    return table[table["posterior"] == posterior].set_index("parameter")


def michaelis_menten(folder):
    """Absorption of first order from a depot, elimination by Michaelis and Menten: as in posteriordb's Stan program."""
    data = json.loads((folder / "one_comp_mm_elim_abs.data.json").read_text(encoding="utf-8"))
    m = Builder()
    m.module("one_comp", "One compartment", "posteriordb one_comp_mm_elim_abs")
    m.state("A", "mg", "depot", "dose")
    m.state("C", "mg/L", "concentration")
    m.flow("A", "-k_a*A")
    m.flow("C", "k_a*A/volume - V_m/volume*hill(C, K_m)")
    rows = {"dose": (data["D"], "mg"), "volume": (data["V"], "L"), "k_a": (0.8, "1/h"), "K_m": (1.0, "mg/L"),
            "V_m": (1.0, "mg/h")}  # fmt: skip
    table = ParameterTable(tuple(
        Parameter(n, float(v), unit, n, "one_comp", status="read", source="posteriordb")
        for n, (v, unit) in rows.items()
    ))  # fmt: skip
    structural = ode_model(assemble(m, table, "one_comp"), ("k_a", "K_m", "V_m"), ("C",), rtol=1e-7, threads=1)
    model = nlme_model(
        structural, [Individual(n, rows[n][0], unit=rows[n][1]) for n in ("k_a", "K_m", "V_m")],
        [Observation("conc", "C", "lognormal", 0.2)],
    )  # fmt: skip
    observed = pd.DataFrame({"time_h": data["times"], "observable": "conc", "value": data["C_hat"]})
    return model, make_records([Subject("one", observed)])


@pytest.mark.timeout(900)
def test_michaelis_menten_elimination_has_the_quantiles_of_stan(references):
    model, records = michaelis_menten(references)
    priors = {n: HalfCauchy(1.0) for n in ("k_a", "K_m", "V_m", "conc a")}
    got = fit_nuts(model, records, 3, priors=priors, chains=2, draws=500, tune=300)
    summary = got.summary.set_index("name").rename({"conc a": "sigma"})
    wanted = expected(references, "one_comp_mm_elim_abs-one_comp_mm_elim_abs")
    assert (summary["r_hat"] < 1.05).all()
    for name, row in wanted.iterrows():
        spread = (row["q95"] - row["q05"]) / (2 * 1.645)
        for level in ("q05", "q50", "q95"):
            # Few draws, so that the test is quick; the full comparison is benchmarks/results/posteriordb.md. The upper
            # quantile of K_m lies in a Cauchy tail.
            most = 0.7 if (name, level) == ("K_m", "q95") else 0.3
            assert abs(summary.loc[name, level] - row[level]) < most * spread, (name, level, summary.loc[name, level])


class Schools:
    """``effect / se`` of a school: a mean that is measured with an SD of 1."""

    parameters = ("theta",)
    outputs = ("z",)

    def bind(self, subjects, time_h, output):
        return Schools.Solver(np.array([s.covariates["se"] for s in subjects]))

    class Solver:
        def __init__(self, se):
            self.se = se

        def values(self, psi, who):
            return psi[:, 0, :1] / self.se[who][:, None]

        def derivatives(self, psi, who):
            by = np.zeros((len(who), 1, 1, 1))
            by[:, 0, 0, 0] = 1.0 / self.se[who]
            return self.values(psi, who), by


def test_eight_schools_as_a_population(references):
    data = json.loads((references / "eight_schools.data.json").read_text(encoding="utf-8"))
    subjects = [
        Subject(f"school {i}", pd.DataFrame({"time_h": [0.0], "observable": "y", "value": [y / se]}), (), {"se": se})
        for i, (y, se) in enumerate(zip(data["y"], data["sigma"], strict=True), 1)
    ]
    model = nlme_model(Schools(), [Individual("theta", 4.0, Scale("normal"), iiv=3.0)],
                       [Observation("y", "z", "additive", 1.0, fixed=True)])  # fmt: skip
    priors = {"theta": Normal(0.0, 5.0), "omega theta": HalfCauchy(5.0)}
    got = fit_nuts(model, make_records(subjects), 5, priors=priors, chains=4, draws=500, tune=300, accept=0.9)
    wanted = expected(references, "eight_schools-eight_schools_noncentered")
    summary = got.summary.set_index("name").rename({"theta": "mu", "omega theta": "tau"})
    for name in ("mu", "tau"):
        row = wanted.loc[name]
        for level in ("q05", "q50", "q95"):
            assert abs(summary.loc[name, level] - row[level]) < 0.3 * row["sd"], (name, level)
    theta = got.fit.effects.mode[:, 0] + summary.loc["mu", "mean"]
    reference = wanted.loc[[f"theta[{i}]" for i in range(1, 9)]]
    np.testing.assert_allclose(theta, reference["mean"], atol=0.15 * reference["sd"].max())
    sd = np.sqrt(got.fit.effects.covariance[:, 0, 0])
    assert (sd > 2.0).all()
    assert (sd < 8.0).all()
    assert any("omega theta reaches down to 0" in m for m in got.fit.messages)


def mixture_density(y):
    """posteriordb low_dim_gauss_mix: ordered means ~ N(0, 2), SDs ~ half-N(0, 2), share ~ Beta(5, 5)."""

    def density(x):
        m1, m2 = x[0], x[0] + np.exp(x[1])
        s1, s2, p = np.exp(x[2]), np.exp(x[3]), expit(x[4])
        z1, z2 = (y - m1) / s1, (y - m2) / s2
        a, b = np.log(p) - 0.5 * z1**2 - x[2], np.log1p(-p) - 0.5 * z2**2 - x[3]
        whole = np.logaddexp(a, b)
        r = np.exp(a - whole)
        logp = whole.sum() - (m1**2 + m2**2 + s1**2 + s2**2) / 8.0 + x[1] + x[2] + x[3] + 5 * np.log(p * (1 - p))
        g1, g2 = (r * z1).sum() / s1 - m1 / 4, ((1 - r) * z2).sum() / s2 - m2 / 4
        slope = np.array([
            g1 + g2, g2 * (m2 - m1) + 1.0, (r * (z1**2 - 1)).sum() - s1**2 / 4 + 1.0,
            ((1 - r) * (z2**2 - 1)).sum() - s2**2 / 4 + 1.0, (r - p).sum() + 5 * (1 - 2 * p),
        ])  # fmt: skip
        return float(logp), slope

    return density


def test_the_sampler_on_a_gaussian_mixture(references):
    y = np.array(json.loads((references / "low_dim_gauss_mix.data.json").read_text(encoding="utf-8"))["y"])
    density = mixture_density(y)
    start = np.array([-2.0, 1.5, 0.0, 0.0, 0.0])
    numeric = [(density(start + h)[0] - density(start - h)[0]) / 2e-6 for h in 1e-6 * np.eye(5)]
    np.testing.assert_allclose(density(start)[1], numeric, rtol=1e-5)
    got = sample_density(density, np.tile(start, (4, 1)), 7, draws=1000, tune=400)
    x = got.draws.reshape(-1, 5)
    table = pd.DataFrame({
        "chain": np.repeat(np.arange(4), 1000), "draw": np.tile(np.arange(1000), 4), "mu[1]": x[:, 0],
        "mu[2]": x[:, 0] + np.exp(x[:, 1]), "sigma[1]": np.exp(x[:, 2]), "sigma[2]": np.exp(x[:, 3]),
        "theta": expit(x[:, 4]),
    })  # fmt: skip
    summary = summarise(table).set_index("name")
    wanted = expected(references, "low_dim_gauss_mix-low_dim_gauss_mix")
    assert (summary["r_hat"] < 1.01).all()
    for level in ("q05", "q50", "q95"):
        np.testing.assert_array_less(np.abs(summary.loc[wanted.index, level] - wanted[level]) / wanted["sd"], 0.15)
