"""Hidden Markov models of the grade path against enumeration of every state sequence; learning; leaks."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest

from icans.core.chains import Plan, forward_backward
from icans.core.errors import NotFittedError
from icans.core.random import stream
from icans.forecast.filters.amidi import AmidiPath, phases
from icans.forecast.filters.days import so_far
from icans.forecast.filters.hmm_path import PhaseParameters, PhasePath
from icans.forecast.filters.ordinal_path import OrdinalPath
from icans.forecast.filters.pool import PooledPath
from icans.forecast.grade_path import MarkovPath, Persistence, cross_validate_path, forecast_rows

RISE = np.array([[0.85, 0.15, 0.0], [0.0, 0.7, 0.3], [0.05, 0.0, 0.95]])


def random_parameters(rng: np.random.Generator, phases: int = 3, results: int = 2) -> PhaseParameters:
    """Any valid parameters of a model with memory."""
    grades = rng.dirichlet(np.ones(6), (phases, 6))
    return PhaseParameters(
        rng.dirichlet(np.ones(phases)), rng.dirichlet(np.ones(phases), phases), grades,
        rng.dirichlet(np.ones(6), phases), rng.normal(size=(phases, results)), rng.uniform(0.5, 2, (phases, results)),
    )  # fmt: skip


def as_path(grades: list[list[int | None]]) -> pd.DataFrame:
    rows = [(f"p{i}", d, g, 0) for i, path in enumerate(grades) for d, g in enumerate(path) if g is not None]
    return pd.DataFrame(rows, columns=["patient_id", "day", "state", "split"])


def drawn(n: int = 120, days: int = 14, seed: int = 1) -> pd.DataFrame:
    """Courses of three phases (well, rising, recovering) with a result that leads the phase; synthetic."""
    rng = stream(seed, "phases")
    rows = []
    for i in range(n):
        phase, grade = 0, 0
        for day in range(days):
            grade = int(np.clip(grade + {0: -1, 1: rng.integers(0, 3), 2: -rng.integers(0, 2)}[phase], 0, 4))
            phase = int(rng.choice(3, p=RISE[phase]))
            rows.append((f"p{i:03d}", day, grade, 0, float(phase == 1) * 2 + rng.normal()))
    return pd.DataFrame(rows, columns=["patient_id", "day", "state", "split", "lab.marker.last"])


def test_passes_equal_enumeration():
    rng = stream(1, "passes")
    states, length = 3, 5
    start = np.log(rng.dirichlet(np.ones(states)))[None]
    links = [np.log(rng.random((1, states, states))) for _ in range(length - 1)]
    series = np.zeros(length, dtype=np.int64)
    group = np.array([0, 0, 0, 1, 1])
    found = forward_backward(start, links, Plan.of(series), series, group)
    total, posterior, joint = 0.0, np.zeros((length, states)), np.zeros((2, states, states))
    for sequence in product(range(states), repeat=length):
        weight = np.exp(start[0, sequence[0]] + sum(links[k][0, sequence[k], sequence[k + 1]] for k in range(4)))
        total += weight
        for k, s in enumerate(sequence):
            posterior[k, s] += weight
            if k:
                joint[group[k], sequence[k - 1], s] += weight
    assert found.evidence[0] == pytest.approx(np.log(total))
    np.testing.assert_allclose(found.posterior, posterior / total)
    np.testing.assert_allclose(found.joint, joint / total)


@pytest.mark.parametrize("gap", [False, True])
def test_likelihood_filter_and_forecast_equal_enumeration(gap: bool):
    """A short course, one day not graded in one case, against the sum over all phases and unseen grades."""
    now = random_parameters(stream(2, "phase model"), results=0)
    model = PhasePath(phases=3, parameters=now)
    grades = [0, 1, None, 2] if gap else [0, 1, 1, 2]
    path = as_path([grades])
    ahead = 2
    total, forecast = 0.0, np.zeros(6)
    for sequence in product(range(3), repeat=4):
        weight = now.start[sequence[0]] * now.first[sequence[0], grades[0]]
        for k in range(1, 4):
            weight *= now.transition[sequence[k - 1], sequence[k]]
            if grades[k] is not None:
                before = grades[k - 1]
                # After a day that was not graded the phase alone tells the grade.
                row = now.first[sequence[k]] if before is None else now.grades[sequence[k], before]
                weight *= row[grades[k]]
        total += weight
        reach = np.zeros((3, 6))
        reach[sequence[-1], grades[-1]] = weight
        for _ in range(ahead):
            reach = np.einsum("kg,kj,jgh->jh", reach, now.transition, now.grades)
        forecast += reach.sum(axis=0)
    assert model.log_likelihood(path)[0] == pytest.approx(np.log(total))
    np.testing.assert_allclose(model.predict_path(path, ahead)[-1], forecast / total)


@pytest.mark.parametrize("memory", [True, False])
def test_em_raises_the_posterior_and_finds_the_phases(memory: bool):
    path = drawn()
    fit = PhasePath(phases=3, memory=memory, columns=("lab.marker.last",), result_weight=1.0, starts=2).fit(path)
    assert (np.diff(fit.objective) > -1e-7).all()
    if memory:
        marker = fit.parameters.mean[:, 0]
        rising = int(marker.argmax())
        assert marker[rising] > np.delete(marker, rising).max() + 0.8
    else:
        # Without a memory of the grade, phases are what tells grades apart.
        assert np.ptp(fit.parameters.first @ np.arange(6)) > 1.5
    smooth = fit.phases_of(path, smooth=True)
    np.testing.assert_allclose(smooth.sum(axis=1), 1.0)


def test_em_comes_back_to_the_parameters_it_was_drawn_from():
    rng = stream(5, "recover")
    stay, first = np.array([[0.8, 0.2], [0.1, 0.9]]), np.array([[0.9, 0.1, 0, 0, 0, 0], [0.1, 0.2, 0.5, 0.2, 0, 0]])
    rows = []
    for i in range(250):
        phase = 0
        for day in range(12):
            rows.append((f"p{i:03d}", day, int(rng.choice(6, p=first[phase])), 0))
            phase = int(rng.choice(2, p=stay[phase]))
    path = pd.DataFrame(rows, columns=["patient_id", "day", "state", "split"])
    now = PhasePath(phases=2, memory=False, starts=2).fit(path).parameters
    order = np.argsort(-now.first[:, 0])
    np.testing.assert_allclose(now.first[order], first, atol=0.05)
    np.testing.assert_allclose(now.transition[np.ix_(order, order)], stay, atol=0.05)


def models() -> list:
    ordinal = OrdinalPath(penalties=(0.1,), folds=3)
    hidden = PhasePath(phases=3, columns=("lab.marker.last",), starts=1)
    return [ordinal, hidden, AmidiPath(columns=("lab.marker.last",), copies=2), PooledPath((ordinal, MarkovPath()))]


@pytest.mark.parametrize("k", range(4))
def test_the_future_does_not_change_a_forecast(k: int):
    path = drawn(60)
    model = models()[k].fit(path)
    test = drawn(20, seed=9)
    cut = test["day"] <= 7
    for ahead in (1, 3):
        whole = forecast_rows(model, test, ahead)
        np.testing.assert_allclose(whole.sum(axis=1), 1.0)
        # Neither leaving later days out nor rewriting them moves a forecast; nor does the order of the rows.
        np.testing.assert_allclose(forecast_rows(model, test[cut], ahead), whole[cut], atol=1e-12)
        late = test.assign(
            **{"state": test["state"].where(cut, 4), "lab.marker.last": test["lab.marker.last"].where(cut, 9)}
        )
        np.testing.assert_allclose(forecast_rows(model, late, ahead)[cut], whole[cut], atol=1e-12)
        mixed = test.sample(frac=1.0, random_state=1)
        np.testing.assert_allclose(
            pd.DataFrame(forecast_rows(model, mixed, ahead), index=mixed.index).sort_index(), whole, atol=1e-12
        )


def rps(found: pd.DataFrame) -> pd.Series:
    chance = found[[f"p{k}" for k in range(6)]].to_numpy()
    reached = np.arange(6)[None] >= found["observed"].to_numpy()[:, None]
    return pd.Series(((np.cumsum(chance, axis=1) - reached) ** 2).sum(axis=1)).groupby(found["model"].to_numpy()).mean()


def test_results_that_lead_the_grade_are_used():
    path = drawn(100, seed=3)
    noise = path.assign(**{"lab.marker.last": stream(4, "noise").normal(size=len(path))})
    marker = OrdinalPath("with", folds=3)
    hidden = PhasePath("hidden", phases=3, columns=("lab.marker.last",), result_weight=1.0, starts=1, iterations=20)
    rivals = (Persistence(), MarkovPath(), marker, hidden)
    score = rps(cross_validate_path(path, rivals, days_ahead=(2,), repeats=1, folds=3))
    assert score["with"] < score["markov"] - 0.01 < score["persistence"]
    assert score["hidden"] < score["markov"]
    useless = rps(cross_validate_path(noise, rivals[1:3], days_ahead=(2,), repeats=1, folds=3))
    # A column without content costs next to nothing: its effects are held down.
    assert useless["with"] < useless["markov"] + 0.01


def test_phases_in_hindsight():
    assert phases(np.array([0, 0, 1, 3, 2, 3, 1, 0, 0])).tolist() == [0, 1, 1, 1, 1, 2, 2, 3, 3]
    assert phases(np.zeros(4, dtype=int)).tolist() == [0, 0, 0, 0]
    assert phases(np.array([2, 1])).tolist() == [2, 2]


def test_the_rival_counts_transitions_and_follows_the_hazard():
    path = drawn(150, seed=6)
    plain = AmidiPath(columns=("lab.marker.last",), copies=0).fit(path)
    # By hand: shares of next phases over all courses, without copies.
    counted = np.zeros((4, 4))
    for _, rows in path.groupby("patient_id"):
        phase = phases(rows["state"].to_numpy())
        np.add.at(counted, (phase[:-1], phase[1:]), 1.0)
    np.testing.assert_allclose(plain.transition, counted / counted.sum(axis=1, keepdims=True), atol=0.01)
    # A patient who was always well: the chance of leaving 0 within a day grows with the marker.
    well = as_path([[0, 0, 0]]).assign(**{"lab.marker.last": [0.0, 0.0, 0.0]})
    ill = well.assign(**{"lab.marker.last": [0.0, 0.0, 3.0]})
    assert plain.hazard.lasso.coefficients[0] > 0
    assert plain.predict_path(ill, 1)[-1, 0] < plain.predict_path(well, 1)[-1, 0]
    with pytest.raises(NotFittedError):
        AmidiPath().predict_path(well, 1)


def test_what_the_path_tells_so_far():
    path = as_path([[0, 1, 3, None, 3, 0, 0]])
    found = so_far(path)
    assert found["yesterday"].tolist() == [0, 0, 1, 3, 3, 0]
    assert found["worst"].tolist() == [0, 1, 3, 3, 3, 3]
    assert found["onset_d"].tolist() == [0, 0, 1, 3, 4, 5]
    assert found["since_worst_d"].tolist() == [0, 0, 0, 0, 1, 2]
    assert found["well_d"].tolist() == [0, 0, 0, 0, 1, 2]


def test_equal_weights_are_the_mean_and_weights_are_followed():
    path = drawn(30)
    members = (Persistence(), MarkovPath())
    fitted = [m.fit(path) for m in members]
    parts = [forecast_rows(m, path, 2) for m in fitted]
    np.testing.assert_allclose(PooledPath(members).fit(path).predict_path(path, 2), (parts[0] + parts[1]) / 2)
    weighted = replace(PooledPath(members), weights=(3.0, 1.0)).fit(path).predict_path(path, 2)
    np.testing.assert_allclose(weighted, 0.75 * parts[0] + 0.25 * parts[1])
