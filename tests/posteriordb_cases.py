"""Three posteriors of posteriordb (github.com/stan-dev/posteriordb, BSD-3-Clause) as models of this package.

Data and summaries of Stan's 10,000 reference draws (posteriordb 28f8d3d) lie in the folder of public data.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
from scipy.special import expit

from icans.mechanism.declare import Builder
from icans.mechanism.model import assemble
from icans.mechanism.parameters import Parameter, ParameterTable
from icans.population.fit.distributions import HalfCauchy, Normal
from icans.population.fit.nuts import fit_nuts, sample_density
from icans.population.nlme.model import Individual, nlme_model
from icans.population.nlme.observed import Observation
from icans.population.nlme.ode import ode_model
from icans.population.nlme.records import Subject, make_records
from icans.population.nlme.scales import Scale

#: Posteriors and where each is found among the reference summaries.
NAMES = {
    "michaelis_menten": "one_comp_mm_elim_abs-one_comp_mm_elim_abs",
    "eight_schools": "eight_schools-eight_schools_noncentered",
    "mixture": "low_dim_gauss_mix-low_dim_gauss_mix",
}


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


def fit_michaelis_menten(folder, seed, **how):
    """Full Bayes with the priors of the Stan program: half-Cauchy(0, 1) for all."""
    model, records = michaelis_menten(folder)
    return fit_nuts(model, records, seed, priors={n: HalfCauchy(1.0) for n in ("k_a", "K_m", "V_m", "conc a")}, **how)


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


def fit_eight_schools(folder, seed, **how):
    """Eight schools as a population: a typical effect, an SD between schools, known errors."""
    data = json.loads((folder / "eight_schools.data.json").read_text(encoding="utf-8"))
    subjects = [
        Subject(f"school {i}", pd.DataFrame({"time_h": [0.0], "observable": "y", "value": [y / se]}), (), {"se": se})
        for i, (y, se) in enumerate(zip(data["y"], data["sigma"], strict=True), 1)
    ]
    model = nlme_model(Schools(), [Individual("theta", 4.0, Scale("normal"), iiv=3.0)],
                       [Observation("y", "z", "additive", 1.0, fixed=True)])  # fmt: skip
    priors = {"theta": Normal(0.0, 5.0), "omega theta": HalfCauchy(5.0)}
    return fit_nuts(model, make_records(subjects), seed, priors=priors, **how)


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


def sample_mixture(folder, seed, *, chains, draws, tune):
    """Draws of the mixture as a table of its parameters."""
    y = np.array(json.loads((folder / "low_dim_gauss_mix.data.json").read_text(encoding="utf-8"))["y"])
    start = np.array([-2.0, 1.5, 0.0, 0.0, 0.0])
    got = sample_density(mixture_density(y), np.tile(start, (chains, 1)), seed, draws=draws, tune=tune)
    x = got.draws.reshape(-1, 5)
    return pd.DataFrame({
        "chain": np.repeat(np.arange(chains), draws), "draw": np.tile(np.arange(draws), chains), "mu[1]": x[:, 0],
        "mu[2]": x[:, 0] + np.exp(x[:, 1]), "sigma[1]": np.exp(x[:, 2]), "sigma[2]": np.exp(x[:, 3]),
        "theta": expit(x[:, 4]),
    })  # fmt: skip
