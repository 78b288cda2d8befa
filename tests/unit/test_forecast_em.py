"""Expectation-maximisation of linear systems: the likelihood never falls, known parameters come back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.forecast.filters.em import Free, fit_em, pack, standard_errors, unpack
from icans.forecast.filters.kalman import forecast, kalman_filter
from icans.forecast.filters.system import LinearSystem, Panel

TRUE = LinearSystem(
    drift=np.array([[-0.5, 0.0], [0.4, -0.25]]), push=np.array([0.5, 0.0]), diffusion=np.diag([0.3, 0.15]),
    loading=np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.5]]), offset=np.array([0.0, 0.0, 1.0]),
    noise=np.array([0.2, 0.1, 0.3]), start=np.array([0.0, 2.0]), start_cov=np.diag([0.5, 0.4]),
)  # fmt: skip
FREE = Free(
    drift=np.array([[True, False], [True, True]]), push=np.array([True, False]), diffusion="diagonal",
    loading=np.array([[False, False], [False, False], [True, True]]), offset=np.array([False, False, True]),
)  # fmt: skip


def drawn(n: int, times: int, seed: int, *, missing: float = 0.3, limit: float | None = None) -> tuple[Panel, Panel]:
    """Simulated patients at irregular times: the panel, and the same without gaps and limits (truth)."""
    rng = stream(seed, "linear system")
    x = rng.multivariate_normal(TRUE.start, TRUE.start_cov, n)
    when = np.cumsum(rng.choice([0.5, 1.0, 1.5, 3.0], (n, times)), axis=1)
    gap = np.diff(np.concatenate([np.zeros((n, 1)), when], axis=1))
    value = np.empty((n, times, 3))
    for k in range(times):
        F, f, Q = TRUE.step(gap[:, k])
        x = np.einsum("nij,nj->ni", F, x) + f + np.einsum("nij,nj->ni", np.linalg.cholesky(Q), rng.normal(size=(n, 2)))
        value[:, k] = x @ TRUE.loading.T + TRUE.offset + np.sqrt(TRUE.noise) * rng.normal(size=(n, 3))
    whole = Panel(when, value.copy(), np.zeros(value.shape, np.int8), np.zeros(n))
    side = np.zeros(value.shape, np.int8)
    if limit is not None:
        side[value < limit] = -1
        value = np.maximum(value, limit)
    gone = rng.random(value.shape) < missing
    return Panel(when, np.where(gone, np.nan, value), np.where(gone, 0, side).astype(np.int8), np.zeros(n)), whole


BEGIN = replace(
    TRUE, drift=np.array([[-1.0, 0.0], [0.1, -0.6]]), push=np.array([1.0, 0.0]), diffusion=np.eye(2),
    loading=np.array([[1.0, 0.0], [0.0, 1.0], [0.4, 0.4]]), offset=np.zeros(3), noise=np.ones(3),
    start=np.zeros(2), start_cov=np.eye(2),
)  # fmt: skip


@pytest.fixture(scope="module")
def fitted():
    panel, _ = drawn(150, 8, seed=1)
    return panel, fit_em(BEGIN, panel, FREE, rounds=40)


def test_the_likelihood_never_falls(fitted):
    _, fit = fitted
    gains = np.diff(fit.trace)
    assert (gains > -1e-6).all()
    assert fit.trace[-1] - fit.trace[0] > 500


def test_the_maximum_beats_the_truth_and_lies_within_its_errors(fitted):
    panel, fit = fitted
    truth = kalman_filter(TRUE, panel).log_likelihood.sum()
    # Twice the gain of a maximum over the truth is chi-squared with as many degrees as parameters (19): 0.999 is 43.8.
    assert -0.5 < fit.trace[-1] - truth < 43.8 / 2

    def quantities(s: LinearSystem) -> np.ndarray:
        return np.array([s.drift[0, 0], s.drift[1, 0], s.drift[1, 1], *np.log(s.noise), s.loading[2, 0]])

    # Holding the start fixed spares five parameters' second derivatives; it bears on these little.
    error = standard_errors(fit.system, panel, replace(FREE, start=False, start_cov=False), of=quantities)
    z = (quantities(fit.system) - quantities(TRUE)) / error
    assert np.abs(z).max() < 3.5
    assert (error < 0.25).all()


def test_forecasts_of_the_fit_cover_what_comes(fitted):
    _, fit = fitted
    panel, whole = drawn(300, 10, seed=2)
    cut = np.nanquantile(panel.time, 0.4)
    seen = panel.until(cut)
    late = whole.time[:, -3:]
    low, high = forecast(fit.system, seen, np.maximum(late, cut)).interval(0.9)
    after = late > cut
    inside = (whole.value[:, -3:] >= low) & (whole.value[:, -3:] <= high)
    # 300 patients, three times, three channels, correlated within a patient: standard error near 0.01.
    assert inside[after].mean() == pytest.approx(0.9, abs=0.035)


def test_censored_values_come_close_to_the_fit_of_the_values_behind_them():
    panel, whole = drawn(80, 6, seed=3, missing=0.0, limit=0.6)
    assert panel.censored.mean() > 0.15
    kept = Free(False, False, "fixed", offset=True, start=False, start_cov=False)
    hidden, ours, naive = (
        fit_em(TRUE, p, kept, rounds=10).system for p in (whole, panel, replace(panel, side=np.zeros_like(panel.side)))
    )
    for quantity in (lambda s: s.offset, lambda s: np.log(s.noise)):
        far, near = (np.abs(quantity(s) - quantity(hidden)).max() for s in (naive, ours))
        assert near < 0.5 * far
        assert near < 0.2


def test_pack_and_unpack_are_inverse():
    free = Free(loading=True, offset=True)
    system = replace(TRUE, diffusion=np.array([[0.3, 0.1], [0.1, 0.2]]))
    back = unpack(replace(BEGIN), free, pack(system, free))
    for name in ("drift", "push", "diffusion", "loading", "offset", "noise", "start", "start_cov"):
        np.testing.assert_allclose(getattr(back, name), getattr(system, name), rtol=1e-9, atol=1e-9)


def test_what_cannot_be_estimated_is_refused():
    panel, _ = drawn(5, 4, seed=4)
    with pytest.raises(NotEstimableError, match="no value"):
        fit_em(BEGIN, replace(panel, value=np.full_like(panel.value, np.nan)))
    with pytest.raises(NotEstimableError, match="not identified"):
        # Scaling a state and its loading together changes nothing.
        twins = Free(False, False, "diagonal", np.array([[True, False], [False, False], [True, False]]))
        standard_errors(BEGIN, panel, replace(twins, noise=False, start=True))
