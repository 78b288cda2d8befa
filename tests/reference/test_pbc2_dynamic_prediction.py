"""PBC2 (312 patients with primary biliary cirrhosis): a landmark Cox model on last values, judged by our metrics.

Expected figures were computed earlier with scikit-survival's Cox model and other metric code on the same split (three
repeats of 5-fold cross-validation within status strata, folds by SHA-256 of the patient's number).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from icans.evaluate.performance import compare, performance
from icans.forecast.cox import PenalisedCox, cause_specific_incidence

#: Landmark (years): AUC, Harrell C, Brier, scaled Brier, slope, O/E of Cox on the last values, window 2 years.
LAST = {
    1: (0.897, 0.859, 0.0886, 0.324, 1.05, 1.11),
    3: (0.862, 0.837, 0.0983, 0.221, 0.91, 0.99),
    5: (0.812, 0.781, 0.1047, 0.303, 0.87, 0.99),
}
#: The same for Cox on the values at the first visit.
BASE = {
    1: (0.829, 0.798, 0.1100, 0.161, 0.81, 1.07),
    3: (0.810, 0.792, 0.1063, 0.158, 0.82, 0.97),
    5: (0.682, 0.659, 0.1399, 0.069, 0.46, 1.00),
}
#: (Landmark, window): AUC, Brier, scaled Brier of death with transplantation competing (cause-specific Cox models on
#: the last values, penalty 0.01 for death and 5 for transplantation).
DEATH = {
    (1.0, 2.0): (0.906, 0.0750, 0.326),
    (1.0, 3.0): (0.909, 0.0887, 0.406),
    (3.0, 2.0): (0.853, 0.0867, 0.175),
    (3.0, 3.0): (0.843, 0.0989, 0.276),
    (5.0, 2.0): (0.835, 0.0760, 0.266),
    (5.0, 3.0): (0.808, 0.1042, 0.243),
}
#: Window 3 years, both outcomes as one: AUC, C, Brier, scaled Brier, slope, O/E on the last values.
LONGER = {
    1: (0.894, 0.849, 0.1028, 0.402, 1.12, 1.04),
    3: (0.850, 0.812, 0.1114, 0.338, 0.95, 1.00),
    5: (0.807, 0.772, 0.1242, 0.303, 0.80, 0.99),
}
EDEMA = {"No edema": 0.0, "edema no diuretics": 0.5, "edema despite diuretics": 1.0}
STATUS = {"alive": 0, "dead": 1, "transplanted": 2}


def digest(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest(), 16)


def folds_of(patients: pd.DataFrame, repeat: int) -> pd.Series:
    fold: dict[int, int] = {}
    for stratum, rows in patients.groupby(patients["status"].map(STATUS)):
        ids = sorted(rows["id"].astype(int), key=lambda i: digest(f"pbc2|{repeat}|{i}"))
        offset = digest(f"pbc2|{repeat}|off{stratum}") % 5
        fold.update({i: (j + offset) % 5 for j, i in enumerate(ids)})
    return pd.Series(fold)


def landmark_table(visits: pd.DataFrame, landmark: float, which: str) -> tuple[pd.DataFrame, np.ndarray]:
    seen = visits[(visits["years"] > landmark) & (visits["year"] <= landmark)].sort_values(["id", "year"])
    one = (seen.groupby("id").nth(0) if which == "base" else seen.groupby("id").nth(-1)).reset_index(drop=True)
    x = np.column_stack(
        [
            one["age"] + landmark,
            np.log(one["serBilir"]),
            one["albumin"],
            np.log(one["prothrombin"]),
            one["edema"].map(EDEMA),
        ]
    )
    return one, x


def predictions(visits: pd.DataFrame, which: str, *, competing: bool = False) -> pd.DataFrame:
    """Out-of-fold forecasts at windows of 2 and 3 years; training follow-up is cut at 3 years."""
    fold = {r: folds_of(visits.drop_duplicates("id"), r) for r in range(3)}
    frames = []
    for landmark in (1.0, 3.0, 5.0):
        one, x = landmark_table(visits, landmark, which)
        time = (one["years"] - landmark).to_numpy()
        code = one["status"].map(STATUS).to_numpy() if competing else (one["status"] != "alive").to_numpy().astype(int)
        for repeat in range(3):
            own = one["id"].map(fold[repeat]).to_numpy()
            risk = np.full((len(one), 2), np.nan)
            for k in range(5):
                risk[own == k] = held_out(x, time, code, own != k)
            columns = {"landmark_h": landmark, "repeat": repeat, "fold": own, "patient_id": one["id"], "time_h": time}
            for column, window in enumerate((2.0, 3.0)):
                frames.append(pd.DataFrame(columns | {"event": code, "risk": risk[:, column], "horizon_h": window}))
    return pd.concat(frames, ignore_index=True).assign(task="pbc2", model=f"cox_{which}")


def held_out(x: np.ndarray, time: np.ndarray, code: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Risks by 2 and 3 years of the patients outside ``train``."""
    filled = np.where(np.isnan(x), np.nanmedian(x[train], axis=0), x)
    z = (filled - filled[train].mean(axis=0)) / filled[train].std(axis=0)
    cut, seen = np.minimum(time, 3.0)[train], np.where(time <= 3.0, code, 0)[train]
    death = PenalisedCox(0.01, "breslow").fit(z[train], cut, seen == 1)
    if not (code == 2).any():
        return 1 - death.predict_survival(z[~train], [2.0, 3.0])
    graft = PenalisedCox(5.0, "breslow").fit(z[train], cut, seen == 2)
    return cause_specific_incidence([death, graft], z[~train], [2.0, 3.0])[0]


@pytest.fixture(scope="module")
def table(data_folder: Path) -> pd.DataFrame:
    visits = pd.read_csv(data_folder / "survival_longitudinal" / "pbc2.csv")
    return pd.concat([predictions(visits, "last"), predictions(visits, "base")], ignore_index=True)


@pytest.fixture(scope="module")
def measured(table: pd.DataFrame) -> pd.DataFrame:
    return performance(table, n_boot=200, seed=1)


@pytest.mark.parametrize(
    ("model", "window", "expected"), [("cox_last", 2.0, LAST), ("cox_base", 2.0, BASE), ("cox_last", 3.0, LONGER)]
)
@pytest.mark.parametrize("landmark", [1, 3, 5])
def test_the_known_figures_return(
    measured: pd.DataFrame, model: str, window: float, expected: dict, landmark: int
) -> None:
    place = (measured["model"] == model) & (measured["landmark_h"] == landmark) & (measured["horizon_h"] == window)
    mine = measured[place].set_index("metric")["value"]
    auc, c, brier, scaled, slope, oe = expected[landmark]
    assert mine["auc"] == pytest.approx(auc, abs=0.002)
    assert mine["c_harrell"] == pytest.approx(c, abs=0.002)
    assert mine["brier"] == pytest.approx(brier, abs=0.0005)
    assert mine["brier_scaled"] == pytest.approx(scaled, abs=0.005)
    assert mine["slope"] == pytest.approx(slope, abs=0.03)
    assert mine["oe"] == pytest.approx(oe, abs=0.015)


def test_the_known_figures_return_with_a_competing_event(data_folder: Path) -> None:
    visits = pd.read_csv(data_folder / "survival_longitudinal" / "pbc2.csv")
    found = performance(predictions(visits, "last", competing=True), n_boot=0)
    wide = found.pivot(index=["landmark_h", "horizon_h"], columns="metric", values="value")
    for place, (auc, brier, scaled) in DEATH.items():
        assert wide.loc[place, "auc"] == pytest.approx(auc, abs=0.003), place
        assert wide.loc[place, "brier"] == pytest.approx(brier, abs=0.0006), place
        assert wide.loc[place, "brier_scaled"] == pytest.approx(scaled, abs=0.006), place


def test_numbers_at_risk(measured: pd.DataFrame) -> None:
    one = measured[(measured["metric"] == "auc") & (measured["model"] == "cox_last") & (measured["horizon_h"] == 2)]
    assert one["n"].tolist() == [290, 245, 202]
    assert one["events"].tolist() == [45, 36, 33]


def test_fresh_values_beat_first_values(table: pd.DataFrame) -> None:
    found = compare(table, "cox_base", n_boot=200, seed=1)
    auc = found[(found["metric"] == "auc") & (found["horizon_h"] == 2)].set_index("landmark_h")
    assert auc.loc[5.0, "better"] == "yes"
    assert (auc["difference"] > 0.04).all()


def test_pooling_the_folds_pulls_the_auc_of_a_constant_forecast_down(table: pd.DataFrame) -> None:
    """A forecast that is constant within a fold says nothing; pooled over folds its AUC falls below a half."""
    constant = table[(table["model"] == "cox_last") & (table["horizon_h"] == 2)].copy()
    keys = ["landmark_h", "repeat", "fold"]
    case = (constant["event"] == 1) & (constant["time_h"] <= 2)
    total = case.groupby([constant["landmark_h"], constant["repeat"]]).transform("sum")
    n = case.groupby([constant["landmark_h"], constant["repeat"]]).transform("size")
    held = case.groupby([constant[k] for k in keys])
    constant["risk"] = (total - held.transform("sum")) / (n - held.transform("size"))
    found = performance(constant, n_boot=0).pivot(index="landmark_h", columns="metric", values="value")
    assert (found["auc"] < 0.46).all()
    np.testing.assert_allclose(found["auc_within_fold"], 0.5)
