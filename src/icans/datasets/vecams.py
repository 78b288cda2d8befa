"""vecams_eeg_clips: EEG clips of 15 seconds with the VE-CAM-S score and expert labels (Tesh et al. 2022).

Nobody knows which clips share a patient, so each clip is a patient of its own, at time 0. The score is a
measurement (``ve_cam_s``), each label an ``eeg_feature`` (0/1, its name in ``method``). The recording is the EDF
file of a converted copy, or the MATLAB 7.3 file as published (read with h5py, an optional package).
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from icans.core.errors import DataError, IcansError, Problem
from icans.core.files import sha256
from icans.datasets import tools
from icans.datasets.loading import located
from icans.datasets.tools import Draft

LABELS_PUBLISHED = "FeaturesInAppendixFigures.csv"
#: Columns of ``labels.csv`` that are no labels.
ABOUT = ("clip", "fs", "seconds", "n_channels", "ve_cam_s", "caption", "channels")


def read_converted(folder: Path) -> Draft:
    """Read ``labels.csv`` and list the EDF files beside it."""
    path = folder / "labels.csv"
    labels = tools.read_csv(path, ["clip", "ve_cam_s"])
    paths = {clip: folder / f"{clip}.edf" for clip in labels["clip"]}
    return _draft(labels, [path], paths)


def read_published(folder: Path) -> Draft:
    """Read the label file and the score inside every MATLAB file that is there."""
    path = located(folder, LABELS_PUBLISHED)
    table = tools.read_csv(path, ["Var1"])
    clip = table["Var1"].astype(str).str.replace(r"\.png$", "", regex=True)
    labels = table.drop(columns="Var1").assign(clip=clip)
    paths = {re.sub(r"_data$", "", p.stem): p for p in sorted(folder.rglob("eFig*_data.mat"))}
    labels = labels[labels["clip"].isin(list(paths))].reset_index(drop=True)
    if labels.empty:
        expected = "eFigNN_data.mat files named in the label file"
        raise DataError([Problem(str(folder), None, None, None, expected, "Fetch with unverified=True.")])
    scores = [read_score(paths[clip]) for clip in labels["clip"]]
    return _draft(labels.assign(ve_cam_s=scores), [path, *paths.values()], paths)


def read_score(path: Path) -> float:
    """The VE-CAM-S score stored in one published MATLAB 7.3 file."""
    try:
        import h5py
    except ImportError as error:
        raise IcansError("reading the published EEG clips needs the package h5py") from error
    with h5py.File(path, "r") as file:
        if "score" not in file:
            raise DataError([Problem(str(path), None, "score", None, "a data set called score", "Fetch it again.")])
        return float(file["score"][()].ravel()[0])


def _draft(labels: pd.DataFrame, files: list[Path], paths: dict[str, Path]) -> Draft:
    draft = Draft({}, files=files)
    clips = labels.rename(columns={"clip": "patient_id"}).assign(time_h=0.0, available_h=0.0)
    names = [c for c in labels.columns if c not in ABOUT]
    clips = tools.numbers(clips, ["ve_cam_s", *names], files[0])
    score = tools.long_measurements(clips, {"ve_cam_s": "ve_cam_s"}, {"ve_cam_s": "{score}"})
    features = clips.melt(["patient_id", "time_h", "available_h"], names, "method", "value")
    features = features.dropna(subset=["value"]).assign(analyte="eeg_feature", matrix="eeg", unit="1")
    there = [clip for clip in labels["clip"] if paths[clip].is_file()]
    draft.tables = {
        "patients": pd.DataFrame({"patient_id": labels["clip"]}),
        "measurements": pd.concat([score, features], ignore_index=True),
        "recordings": pd.DataFrame(
            {
                "patient_id": there,
                "time_h": 0.0,
                "available_h": 0.0,
                "kind": "eeg",
                "path": [str(paths[clip]) for clip in there],
                "sha256": [sha256(paths[clip]) for clip in there],
            }
        ),
    }
    why = "the source does not say which clips share a patient, nor when they were recorded"
    draft.log("patients", "patient.assumed", why, column="patient_id", rows=len(labels))
    draft.log("recordings", "time.unknown", why + "; time 0 stands for no time", column="time_h", rows=len(there))
    tools.set_aside(draft, "measurements", labels, {"caption": "the labels in words; the labels are delivered"})
    return draft
