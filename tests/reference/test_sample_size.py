"""Sample sizes: published examples, the authors' own software, and a table computed by another hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icans.core.errors import NotEstimableError
from icans.evaluate import sample_size as size

#: (prevalence, C): n for 5, 10 and 20 parameters, computed independently by simulating the same model.
DEVELOPMENT = {
    (0.10, 0.70): (912, 1824, 3647),
    (0.10, 0.75): (563, 1125, 2250),
    (0.10, 0.80): (372, 744, 1488),
    (0.25, 0.70): (455, 909, 1818),
    (0.25, 0.75): (289, 566, 1132),
    (0.25, 0.80): (289, 379, 758),
    (0.45, 0.70): (381, 699, 1398),
    (0.45, 0.75): (381, 438, 876),
    (0.45, 0.80): (381, 381, 589),
}
#: (prevalence, C): n for validation with O/E 0.80-1.25, slope width 0.4, C width 0.1; same origin.
VALIDATION = {
    (0.10, 0.70): 2138, (0.10, 0.75): 1416, (0.10, 0.80): 1037,
    (0.25, 0.70): 1136, (0.25, 0.75): 779, (0.25, 0.80): 591,
    (0.45, 0.70): 901, (0.45, 0.75): 627, (0.45, 0.80): 482,
}  # fmt: skip


def test_chagas_example_of_riley_2019() -> None:
    """Riley et al. 2019, abstract: EPP 4.8. pmsampsize (R 1.1.3 and Python 0.1.0, Ensor, Riley): 623, 662, 221."""
    found = size.development(0.174, 24, r2=0.288)
    assert found.criteria == {"shrinkage": 623, "optimism": 662, "overall risk": 221}
    assert (found.n, found.events) == (662, 116)
    assert found.epp == pytest.approx(4.8, abs=0.05)


def test_c_statistic_in_place_of_r2() -> None:
    """pmsampsize with C 0.89 simulates the R2 and gives 615 and 660."""
    found = size.development(0.174, 24, c=0.89)
    assert found.criteria["shrinkage"] == pytest.approx(615, rel=0.015)
    assert found.criteria["optimism"] == pytest.approx(660, rel=0.005)


def test_recurrent_thrombosis_example_of_riley_2019() -> None:
    """Riley et al. 2019, abstract: EPP 23. pmsampsize: n 5143 and 1039."""
    found = size.development_survival(0.065, 2.0, 2.07, 30, r2=0.051)
    assert found.criteria["shrinkage"] == 5143
    assert found.criteria["optimism"] == 1039
    assert found.n == 5143
    assert found.epp == pytest.approx(23.07, abs=0.01)


@pytest.mark.parametrize(
    ("r2", "parameters", "rate", "expected", "epp"),
    [(0.051, 25, 0.065, 4286, 23.07), (0.065, 25, 0.065, 3335, 17.95), (0.051, 50, 0.065, 8572, 23.07),
     (0.051, 25, 0.1, 4286, 35.49)],
)  # fmt: skip
def test_survival_cases_of_pmsampsize(r2: float, parameters: int, rate: float, expected: int, epp: float) -> None:
    found = size.development_survival(rate, 2.0, 2.07, parameters, r2=r2)
    assert found.n == expected
    assert found.epp == pytest.approx(epp, abs=0.005)


def test_validation_example_of_pmvalsampsize() -> None:
    """Heart-valve failure (Riley 2021): prevalence 0.018, C 0.8, predictor N(-5, 2.5), widths 1, 0.2, 0.1: 905, 4252.

    The slope is simulated there (4501 with 1,000 draws, 4544 with its default); ours is integrated.
    """
    x, w = np.polynomial.hermite_e.hermegauss(120)
    lp = size.LinearPredictor(-5 + 2.5 * x, w / w.sum(), np.zeros(120))
    half = math.sqrt(1.25) - 0.5  # an interval of width 1, symmetric on the log scale
    found = size.validation(0.018, 0.8, predictor=lp, oe_interval=(half, half + 1), slope_width=0.2)
    assert found.criteria["observed/expected"] == pytest.approx(905, abs=1)
    assert found.criteria["C"] == 4252
    assert found.criteria["slope"] == pytest.approx(4544, rel=0.02)


@pytest.mark.parametrize("case", DEVELOPMENT)
def test_table_of_development(case: tuple[float, float]) -> None:
    for parameters, expected in zip((5, 10, 20), DEVELOPMENT[case], strict=True):
        assert size.development(case[0], parameters, c=case[1]).n == pytest.approx(expected, rel=0.025)


@pytest.mark.parametrize("case", VALIDATION)
def test_table_of_validation(case: tuple[float, float]) -> None:
    assert size.validation(*case).n == pytest.approx(VALIDATION[case], rel=0.025)


@pytest.mark.parametrize(("prevalence", "c"), [(0.1, 0.7), (0.25, 0.8), (0.45, 0.75)])
def test_anticipated_r2_is_that_of_a_large_study(prevalence: float, c: float) -> None:
    """A study of 400,000 whose predictors are evenly spaced normal quantiles (random ones scatter R2 by 5 %)."""
    from scipy.stats import norm
    from sklearn.metrics import roc_auc_score

    events = round(400_000 * prevalence)
    y = np.repeat([1.0, 0.0], [events, 400_000 - events])
    z = np.concatenate([norm.ppf((np.arange(m) + 0.5) / m) for m in (events, 400_000 - events)])
    distance = math.sqrt(2) * norm.ppf(c)
    lp = math.log(prevalence / (1 - prevalence)) + distance**2 * (y - 0.5) + distance * z
    assert roc_auc_score(y, lp) == pytest.approx(c, abs=1e-4)
    null = prevalence * math.log(prevalence) + (1 - prevalence) * math.log(1 - prevalence)
    gain = np.mean(y * lp - np.logaddexp(0, lp)) - null
    assert size.cox_snell_r2(prevalence, c) == pytest.approx(1 - math.exp(-2 * gain), rel=1e-3)


@given(st.floats(0.05, 0.6), st.floats(0.6, 0.9), st.integers(50, 2000))
def test_supported_parameters_are_the_most_that_fit(prevalence: float, c: float, n: int) -> None:
    def overfitting(parameters: int) -> int:
        criteria = size.development(prevalence, parameters, c=c).criteria
        return max(criteria["shrinkage"], criteria["optimism"])

    allowed = size.parameters_supported(n, prevalence, c=c)
    assert overfitting(allowed + 1) > n
    if allowed:
        assert overfitting(allowed) <= n
        assert size.expected_shrinkage(n, allowed, size.cox_snell_r2(prevalence, c)) >= size.SHRINKAGE - 1e-6


def test_shrinkage_inverts_the_first_criterion() -> None:
    r2 = size.cox_snell_r2(0.25, 0.75)
    n = size.development(0.25, 10, r2=r2).criteria["shrinkage"]
    assert size.expected_shrinkage(n, 10, r2) == pytest.approx(0.9, abs=0.001)
    assert size.expected_shrinkage(5, 300, r2) == 0.0


def test_statement_says_what_is_supported() -> None:
    small = size.statement(199, 97, 12)
    assert "199 patients, 97 of them" in small
    assert "too small" in small
    large = size.statement(5000, 1250, 10, outcome="ICANS")
    assert "suffices" in large
    assert "with ICANS (25%)" in large
    assert "no prediction model" in size.statement(40, 0, 5)
    assert "no candidate parameter" in size.statement(40, 4, 5)
    assert "within 7 percentage points" in small
    assert "at most 4 candidate parameters" in small


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="either"):
        size.development(0.2, 5)
    with pytest.raises(NotEstimableError, match="not possible"):
        size.development(0.02, 5, r2=0.5)
    with pytest.raises(ValueError, match="prevalence"):
        size.development(1.2, 5, c=0.7)
    with pytest.raises(ValueError, match="at least 1"):
        size.development(0.2, 0, c=0.7)
