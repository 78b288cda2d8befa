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


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with the public data sets; the test is skipped where it is absent."""
    folder = os.environ.get("ICANS_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real data not here: set ICANS_DATA to the folder with the public data sets")
    return Path(folder)
