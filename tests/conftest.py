"""Fixtures for every test: where the real data are, and settings of property tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "icans",
    deadline=None,
    max_examples=30,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("icans")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--full``: comparisons with other programs at the size that is claimed, which takes minutes."""
    parser.addoption("--full", action="store_true", help="comparisons with other programs at full size")


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> None:
    """Skip what takes half a minute and repeats in kind what a quicker test shows, unless ``--full``."""
    if not request.config.getoption("--full"):
        pytest.skip("takes long; run with --full")


@pytest.fixture(scope="session")
def many(request: pytest.FixtureRequest) -> int:
    """Patients in comparisons with other programs: 100 with ``--full``, else fewer of the same ones."""
    return 100 if request.config.getoption("--full") else 12


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with the public data sets; the test is skipped where it is absent."""
    folder = os.environ.get("ICANS_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real data not here: set ICANS_DATA to the folder with the public data sets")
    return Path(folder)
