"""What is not known at a landmark does not reach the posterior; and the posterior is calibrated."""

from dataclasses import replace

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from icans.population.nlme.model import Individual, nlme_model
from icans.population.nlme.observed import Observation, Outcome
from icans.population.nlme.population import start
from icans.population.nlme.records import Administration, Subject, make_records
from icans.population.posterior.individual import individual_posterior
from icans.population.posterior.known import known_by
from posterior_cases import Decay, as_fit, decays

LANDMARK = 10.0


def joint_fit():
    """Concentrations, grades with memory and an event, all driven by the decay."""
    model = nlme_model(
        Decay(), [Individual("a", 8.0, iiv=0.5), Individual("k", 0.1, iiv=0.5)],
        [Observation("conc", "y", "lognormal", 0.3), Outcome("grade", "y", "ordinal", (0.0, 2.0), 0.3, memory=0.5),
         Outcome("sick", "y", "event", (-5.0,), 0.1, step_h=6.0)],
    )  # fmt: skip
    return as_fit(model, start(model), ("p", "q"))


def rows_of(future, value, late, grade, event):
    past = [(1.0, "conc", 6.0, "none", np.nan), (5.0, "conc", 4.0, "none", np.nan), (6.0, "grade", 1.0, "none", np.nan)]
    # Drawn before the landmark, but the laboratory answers later: not known.
    unknown = [(8.0, "conc", late, "none", LANDMARK + 3.0), (future, "conc", value, "none", np.nan),
               (future, "grade", float(grade), "none", np.nan), (event, "sick", event, "none", np.nan)]  # fmt: skip
    return pd.DataFrame(past + unknown, columns=["time_h", "observable", "value", "censor", "available_h"])


future = st.tuples(
    st.floats(10.5, 40.0), st.floats(0.1, 50.0), st.floats(0.1, 50.0), st.integers(0, 2), st.floats(10.5, 60.0)
)


@settings(max_examples=15)
@given(future, future, st.randoms(use_true_random=False))
def test_the_future_leaves_a_posterior_bit_identical(one, other, shuffler):
    fit = joint_fit()
    doses = (Administration(0.0, 1.0), Administration(9.0, 1.0))
    later = (*doses, Administration(11.0 + other[3], 5.0))
    got = []
    for parts, given_doses in ((one, doses), (other, later)):
        tables = [rows_of(*parts), rows_of(*parts).iloc[:-2]]
        order = list(range(3, len(tables[0])))
        shuffler.shuffle(order)
        tables[0] = tables[0].iloc[[0, 1, 2, *order]]
        records = make_records([Subject(n, t, given_doses) for n, t in zip("pq", tables, strict=True)])
        got.append(individual_posterior(fit, records, LANDMARK, seed=5, draws=64))
    for name in ("draws", "log_weights", "log_likelihood", "mode", "covariance", "k_hat", "log_evidence"):
        np.testing.assert_array_equal(getattr(got[0], name), getattr(got[1], name), name)
    assert got[0].data_digest == got[1].data_digest


def test_no_event_by_the_landmark_is_known():
    fit = joint_fit()
    records = make_records(
        [Subject("p", rows_of(20.0, 1.0, 1.0, 0, 30.0)), Subject("q", rows_of(20.0, 1.0, 1.0, 0, 30.0))]
    )
    table = known_by(fit.model, records, LANDMARK).subjects[0].observations
    event = table[table["observable"] == "sick"].iloc[0]
    assert (event["value"], event["censor"]) == (LANDMARK, "right")
    assert len(table) == 4
    assert (known_by(fit.model, records, 40.0).subjects[0].observations["censor"] == "none").all()


def test_posteriors_are_calibrated_when_patients_come_from_the_population():
    """Talts et al. 2018 (arXiv 1804.06788): the truth's rank among posterior draws is uniform."""
    fit, records, truth = decays(400, seed=11)
    got = individual_posterior(fit, records, np.inf, seed=12, draws=256)
    below = got.draws < truth[:, None, :]
    rank = np.einsum("ns,nsd->nd", got.weights, below)
    for j in range(2):
        p = stats.kstest(rank[:, j], "uniform").pvalue
        assert p > 0.005, (got.names[j], p)
    inside = (rank > 0.05) & (rank < 0.95)
    assert abs(inside.mean() - 0.9) < 0.035


def test_a_wrong_population_fails_the_calibration():
    """The check can fail: with error SDs declared too small, the truth lies outside too often."""
    fit, records, truth = decays(150, seed=11)
    sure = replace(fit, population=replace(fit.population, errors=fit.population.errors / 2.0))
    got = individual_posterior(sure, records, np.inf, seed=12, draws=256)
    rank = np.einsum("ns,nsd->nd", got.weights, got.draws < truth[:, None, :])
    assert ((rank > 0.05) & (rank < 0.95)).mean() < 0.8
