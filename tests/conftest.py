"""Fixtures for every test: where the real data are, and settings of property tests."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "icans",
    deadline=None,
    max_examples=20,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("icans")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--full``: comparisons with other programs at the size that is claimed, which takes minutes."""
    parser.addoption("--full", action="store_true", help="comparisons with other programs at full size")


#: Files that take longest, begun first so that no worker is left with one at the end; others follow by name. Those
#: that compile the same loops stand apart, so that the second finds them compiled.
LONGEST = (
    "integration/test_study.py",
    "unit/test_nlme_focei.py",
    "unit/test_report_render.py",
    "reference/test_mechanism_anchors.py",
    "unit/test_population_bayes.py",
    "integration/test_exchange_routes.py",
    "unit/test_cohort_check.py",
    "unit/test_mechanism_biology.py",
    "reference/test_mechanism_sbml.py",
    "web/test_report_browser.py",
    "integration/test_protocol_study.py",
    "property/test_exchange_round_trip.py",
    "unit/test_saem_observed.py",
    "reference/test_saem_published.py",
    "reference/test_mechanism_jax.py",
    "reference/test_mechanism_cns.py",
    "reference/test_posteriordb.py",
    "unit/test_mechanism_simulate.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Workers take files in the order below, not those with most tests first."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first."""
    root = Path(__file__).parent
    rank = {str(root / name): place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(str(item.path), len(rank)))


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[], str]], Path]:
    """``once(name, make)``: a file of text that takes long and that several test files look at.

    The process of tests that comes first makes it; the others wait for it and find it.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent

    def found(name: str, make: Callable[[], str]) -> Path:
        path = folder / name
        with (folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                path.write_text(make(), encoding="utf-8")
        return path

    return found


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> None:
    """Skip what takes half a minute and repeats in kind what a quicker test shows, unless ``--full``."""
    if not request.config.getoption("--full"):
        pytest.skip("takes long; run with --full")


@pytest.fixture(scope="session")
def many(request: pytest.FixtureRequest) -> int:
    """Patients in comparisons with other programs: 100 with ``--full``, else fewer of the same ones."""
    return 100 if request.config.getoption("--full") else 6


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with the public data sets; the test is skipped where it is absent."""
    folder = os.environ.get("ICANS_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real data not here: set ICANS_DATA to the folder with the public data sets")
    return Path(folder)
