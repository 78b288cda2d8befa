"""The catalogue of public data sets, and finding local copies."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from icans.core.errors import DataError
from icans.datasets import catalogue, describe, load
from icans.datasets.loading import READERS, find
from icans.datasets.registry import RAW_HOST, dataset

NAMES = ["bwh_icans", "nulisa_cart_lbcl", "cd22_car_hlh", "vecams_eeg_clips", "ve_icans_eeg"]
NAMES += ["cinc2012_icu", "pbc2", "pbcseq"]


def test_every_set_is_there_and_has_a_reader():
    assert list(catalogue()) == NAMES
    assert set(READERS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_says_whose_it_is_and_what_to_beware_of(name):
    entry = catalogue()[name]
    assert entry.citation
    assert entry.licence
    assert entry.traps
    assert entry.row_is
    assert entry.converted
    assert entry.doi.startswith("10.") or name == "nulisa_cart_lbcl"
    assert not entry.commit or re.fullmatch(r"[0-9a-f]{40}", entry.commit)
    for file in entry.files:
        assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert file.url.startswith(f"{RAW_HOST}/{entry.repository}/{entry.commit}/")
        assert " " not in file.url


def test_non_commercial_sets_say_so():
    assert {name for name, entry in catalogue().items() if entry.non_commercial} == {"bwh_icans", "ve_icans_eeg"}
    assert "NOT for commercial use" in describe("bwh_icans")
    assert "NOT for commercial use" not in describe("pbc2")


def test_a_range_of_files_is_spelt_out():
    names = [file.name for file in catalogue()["vecams_eeg_clips"].files]
    assert names[1] == "eFig04_data.mat"
    assert names[-1] == "eFig58_data.mat"
    assert len(names) == 1 + 55


def test_describe_names_source_licence_and_traps():
    text = describe("bwh_icans")
    assert "aea125db" in text
    assert "doi:10.1136/jitc-2022-005459" in text
    assert text.count("trap:") == len(catalogue()["bwh_icans"].traps)
    assert "by hand" in describe("cinc2012_icu")


def test_an_unknown_name_suggests_the_near_one():
    with pytest.raises(KeyError, match="bwh_icans"):
        dataset("bwh_ican")


def test_nothing_local_says_where_it_looked_and_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("ICANS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ICANS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError) as caught:
        load("bwh_icans")
    text = str(caught.value)
    assert str(tmp_path / "data" / "bwh_icans") in text
    assert str(tmp_path / "cache" / "bwh_icans") in text
    assert "fetch" in text
    with pytest.raises(DataError, match="PhysioNet"):
        load("cinc2012_icu")


def test_the_folder_variable_comes_before_the_cache(tmp_path, monkeypatch):
    for place in ("data", "cache"):
        (tmp_path / place / "pbc2").mkdir(parents=True)
        (tmp_path / place / "pbc2" / "pbc2.csv").write_text("id\n")
    monkeypatch.setenv("ICANS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ICANS_CACHE", str(tmp_path / "cache"))
    assert find(dataset("pbc2")) == (tmp_path / "data" / "pbc2", True)
    monkeypatch.delenv("ICANS_DATA")
    assert find(dataset("pbc2")) == (tmp_path / "cache" / "pbc2", True)


def test_published_files_are_found_in_nested_folders(tmp_path):
    nested = tmp_path / "repo" / "data"
    nested.mkdir(parents=True)
    (nested / "AllBWH_5days_deID.xlsx").write_bytes(b"")
    assert find(dataset("bwh_icans"), tmp_path) == (tmp_path, False)


def test_a_table_without_its_columns_names_each_of_them(tmp_path):
    (tmp_path / "daily.csv").write_text("SID,Age\n1,60\n")
    with pytest.raises(DataError) as caught:
        load("bwh_icans", tmp_path)
    columns = {problem.column for problem in caught.value.problems}
    assert {"HospitalDay", "Temp", "meanscore"} <= columns
    assert "SID" not in columns


def test_importing_the_package_does_not_import_pandas():
    light = "import icans.datasets, sys; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", light], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_unknown_attribute_is_an_attribute_error():
    import icans.datasets

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        icans.datasets.nothing


def test_no_path_of_a_machine_is_in_the_package():
    folder = Path(__import__("icans.datasets", fromlist=["x"]).__file__).parent
    for file in [*folder.glob("*.py"), *folder.glob("*.toml")]:
        assert "/work" not in file.read_text(encoding="utf-8")
