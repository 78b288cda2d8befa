"""``icans eeg``: a file in, a folder with page, tables and rows for a cohort out (synthetic recording)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import eeg_signals as made
from icans.cli.app import app
from icans.cohort import schema, vocabulary
from icans.cohort.check import check
from icans.cohort.cohort import make
from icans.cohort.folder import write_folder
from icans.core.errors import IcansError
from icans.signals.eeg.analyse import analyse
from icans.study.eeg_rows import Placing, cohort_with_eeg, measurement_rows

mne = pytest.importorskip("mne")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic recording of 75 s with discharges, in FIF."""
    data = made.scalp(75.0, 12.0) + made.on_sides(120 * made.train(75.0, 0.8), 1, 1)
    path = tmp_path_factory.mktemp("eeg") / "synthetic_raw.fif"
    info = mne.create_info(made.NAMES, made.RATE, "eeg")
    mne.io.RawArray(data * 1e-6, info, verbose="ERROR").save(path, verbose="ERROR")
    return path


@pytest.fixture(scope="module")
def done(file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    folder = tmp_path_factory.mktemp("out") / "results"
    ran = CliRunner().invoke(app, ["eeg", str(file), "-o", str(folder), "--patient", "P1", "--start-h", "48",
                                   "--delay-h", "2", "--synthetic", "--json"])  # fmt: skip
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout), folder


def test_the_answer_names_features_findings_and_score(done):
    told, _ = done
    assert told["ok"]
    assert told["findings"]["gpd"] == 1.0
    assert abs(told["features"]["pd_frequency"] - 1.25) < 0.1
    assert told["ve_cam_s"]["parts"]["gpd"] == 4.0
    assert "absent_sleep_features" in told["ve_cam_s"]["unknown"]
    assert told["features"]["wpli_alpha"] is not None


def test_the_page_shows_figures_and_says_what_it_is(done):
    page = (done[1] / "eeg.html").read_text(encoding="utf-8")
    assert page.count("<svg") >= 3
    for words in ("SYNTHETIC", "For research only", "Spectrogram", "Traces", "VE-CAM-S"):
        assert words in page
    assert "://" not in page.replace("http://www.w3.org", "")


def test_the_rows_are_measurements_that_pass_the_checks(done, tmp_path):
    rows = pd.read_csv(done[1] / "measurements.csv")
    known = vocabulary.analytes()
    assert set(rows["analyte"]) <= set(known)
    assert len(rows) == len(rows.drop_duplicates("analyte")) > 60
    for row in rows.itertuples():
        entry = known[row.analyte]
        assert entry.low <= row.value <= entry.high, row.analyte
        assert row.unit == entry.unit
    assert set(rows["time_h"]) == {48.0}
    np.testing.assert_allclose(rows["available_h"], 48 + 75 / 3600 + 2)
    patients = pd.DataFrame({"patient_id": ["P1"]})
    cohort = make("eeg", {"patients": patients, "measurements": schema.MEASUREMENTS.shape_up(rows)})
    write_folder(cohort, tmp_path / "cohort")
    report = check(tmp_path / "cohort")
    assert report.ok, report.text()


def test_rows_by_stretch_are_known_after_their_own_end(file):
    rows = measurement_rows(analyse(file, connectivity=False), Placing("P1", 10.0), every_h=30 / 3600)
    times = rows[["time_h", "available_h"]].drop_duplicates().sort_values("time_h")
    np.testing.assert_allclose(times["time_h"], 10 + np.array([0, 30, 60]) / 3600)
    np.testing.assert_allclose(times["available_h"], 10 + np.array([30, 60, 75]) / 3600)


def test_the_recordings_of_a_cohort_become_measurements(file):
    recordings = pd.DataFrame({"patient_id": ["P1", "P2"], "time_h": [10.0, 20.0], "available_h": [30.0, np.nan],
                               "kind": "eeg", "path": file.name})  # fmt: skip
    patients = pd.DataFrame({"patient_id": ["P1", "P2", "P3"]})
    before = make("eeg", {"patients": patients, "recordings": recordings})
    after = cohort_with_eeg(before, file.parent, connectivity=False)
    known = after.measurements.groupby("patient_id")["available_h"].max()
    assert known["P1"] == 30.0
    np.testing.assert_allclose(known["P2"], 20 + 75 / 3600)
    assert set(after.changes["rule"]) >= {"eeg.features"}
    assert after.available_by(29.0).measurements["patient_id"].unique().tolist() == ["P2"]


def test_a_folder_is_not_replaced_unasked_and_a_bad_file_is_named(done, tmp_path):
    runner = CliRunner()
    again = runner.invoke(app, ["eeg", "nothing.edf", "-o", str(done[1])])
    assert again.exit_code == 2
    (tmp_path / "a.edf").write_bytes(b"no header at all")
    bad = runner.invoke(app, ["eeg", str(tmp_path / "a.edf"), "--json"])
    assert bad.exit_code == 2
    assert json.loads(bad.stdout)["problems"][0]["file"] == "a.edf"


def test_a_recording_that_gives_no_number_says_so(tmp_path):
    path = tmp_path / "flat_raw.fif"
    info = mne.create_info(made.NAMES, made.RATE, "eeg")
    mne.io.RawArray(np.zeros((19, 6000)), info, verbose="ERROR").save(path, verbose="ERROR")
    ran = CliRunner().invoke(app, ["eeg", str(path), "-o", str(tmp_path / "out"), "--json"])
    assert ran.exit_code == 2
    told = json.loads(ran.stdout)
    assert not told["ok"]
    assert "unusable" in {flag["severity"] for flag in told["flags"]}
    assert pd.read_csv(tmp_path / "out" / "measurements.csv").empty


def test_without_mne_the_error_names_the_command(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "mne", None)
    with pytest.raises(IcansError, match=r"pip install 'icans\[eeg\]'"):
        analyse(file)
