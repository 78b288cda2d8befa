"""The house itself: layers, the public surface, start-up time, lock files, and what no file may hold."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_imports_point_down_only():
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_public_name_is_there_and_documented():
    import icans

    reference = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert sorted(icans.__all__) == icans.__all__
    for name in icans.__all__:
        assert getattr(icans, name).__doc__, name
        home = icans.HOMES[name]
        assert f"::: {home}" in reference, f"{home} is missing in docs/reference.md"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        icans.nonsense
    assert set(icans.__all__) <= set(dir(icans))


@pytest.mark.parametrize("command", [["-c", "import icans"], ["-m", "icans.cli", "--help"]])
def test_start_up_takes_less_than_half_a_second(command):
    # Processor time, so that what else the machine does has little say.
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < 0.5


def test_heavy_libraries_are_imported_where_they_are_used():
    code = "import icans, icans.cli.app, sys; print([m for m in sys.modules if m.split('.')[0] in HEAVY])"
    heavy = "HEAVY={'pandas','sklearn','lightgbm','lifelines','matplotlib','pydantic','scipy','numpy'};"
    result = subprocess.run([sys.executable, "-c", heavy + code], check=True, capture_output=True, encoding="utf-8")
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["run.lock", "dev.lock"])
def test_lock_files_pin_with_hashes_and_name_no_index(name):
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    assert "://" not in text
    pins = re.findall(r"^([a-z0-9._-]+)==", text, re.M | re.I)
    assert len(pins) > 40
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.M)[1:]
    assert all("--hash=sha256:" in block for block in blocks)


def test_run_and_dev_environments_agree():
    def pins(name: str) -> set[str]:
        text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
        return set(re.findall(r"^\S+==[^ ;]+", text, re.M))

    assert pins("run.lock") <= pins("dev.lock")


def test_modules_stay_short():
    lengths = {p.name: len(p.read_text(encoding="utf-8").splitlines()) for p in (ROOT / "src").rglob("*.py")}
    long = {name: lines for name, lines in lengths.items() if lines > 420}
    assert not long
