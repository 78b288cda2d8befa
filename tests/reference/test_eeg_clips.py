"""Real EEG against experts (Tesh et al. 2022; Jones et al. 2022): a part of what benchmarks/eeg_clips.py measures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from icans.datasets.ve_icans import FEATURES
from icans.signals.eeg.analyse import EegResult, analyse
from icans.signals.eeg.findings import findings
from icans.signals.eeg.points import VE_ICANS_ORDER, fit_points
from icans.signals.eeg.scores import ve_cam_s, ve_cam_s_of_labels

pytest.importorskip("mne")

CLIPS = ("eFig05", "eFig06", "eFig09", "eFig33", "eFig38", "eFig42", "eFig46", "eFig52", "eFig55", "eFig57")


@pytest.fixture(scope="module")
def labels(data_folder: Path) -> pd.DataFrame:
    return pd.read_csv(data_folder / "vecams_eeg_clips" / "labels.csv").set_index("clip")


@pytest.fixture(scope="module")
def results(data_folder: Path) -> dict[str, EegResult]:
    return {c: analyse(data_folder / "vecams_eeg_clips" / f"{c}.edf", connectivity=False) for c in CLIPS}


def column(results: dict[str, EegResult], feature: str) -> pd.Series:
    return pd.Series({clip: float(result.windows[feature].iloc[0]) for clip, result in results.items()})


def test_points_reproduce_every_published_score(labels):
    for clip, row in labels.iterrows():
        assert ve_cam_s_of_labels(row.to_dict()).value == row["ve_cam_s"], clip


def test_the_normal_clip_is_fast_and_the_slowed_ones_slow(results, labels):
    dtabr, middle = column(results, "dtabr"), column(results, "median_frequency")
    assert dtabr["eFig05"] < 1
    assert middle["eFig05"] > 8
    slowed = [clip for clip in CLIPS if labels.loc[clip, "Diffuse delta"] == 1]
    assert (dtabr[slowed] > 2).all()
    assert (middle[slowed] < 4).all()
    assert results["eFig05"].windows["pdr_present"].iloc[0] == 1


def test_suppression_discharges_and_seizure_stand_out(results, labels):
    assert column(results, "burst_floor_ratio").idxmax() == "eFig55"
    assert set(column(results, "low_share").nlargest(2).index) == {"eFig55", "eFig57"}
    gpd = [clip for clip in CLIPS if labels.loc[clip, "GPD"] == 1]
    rate = column(results, "gpd_rate")
    others = rate.drop([*gpd, "eFig42"])  # a clip that the detector calls and the experts do not
    assert rate[gpd].min() > others.max()
    assert column(results, "seizure_index").idxmax() == "eFig52"


def test_clean_clips_raise_no_doubt_about_channels(results):
    for clip, result in results.items():
        assert not {f.code for f in result.flags} & {"channel.left_out", "channel.swapped", "unit.corrected"}, clip


def test_the_automatic_score_follows_the_expert(results, labels):
    ours = [ve_cam_s(findings(result.windows)).value for result in results.values()]
    expert = labels.loc[list(CLIPS), "ve_cam_s"]
    assert pd.Series(ours).corr(pd.Series(expert.to_numpy()), method="spearman") >= 0.6


def test_whole_points_follow_the_grade_of_unseen_patients(data_folder):
    data = pd.read_csv(data_folder / "ve_icans_eeg" / "features_and_grade.csv").dropna(subset=["icans"])
    table, grade = data[list(FEATURES)].to_numpy(dtype=float), data["icans"].to_numpy(dtype=float)
    fold = data["SID"].to_numpy() % 5
    held = np.zeros(len(grade))
    for k in range(5):
        learned = fit_points(table[fold != k], FEATURES, grade[fold != k], VE_ICANS_ORDER)
        held[fold == k] = learned.scores(table[fold == k], FEATURES)
    assert np.corrcoef(held, grade)[0, 1] >= 0.62
