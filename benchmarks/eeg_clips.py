"""How well EEG features and scores agree with experts, on two public sets.

``vecams_eeg_clips``: 30 clips of 15 s with expert labels and VE-CAM-S (Tesh et al. 2022). AUROC of features laid down
beforehand, thresholds learned with the clip left out, the automatic score against the expert's. ``ve_icans_eeg``:
pages read by experts with the ICANS grade of the time (Jones et al. 2022); whole points under order constraints, ten
folds by patient, five times.

The rules were written while looking at these 30 clips: leave-one-out covers the thresholds, not the choice of
features. Only other recordings can say how well they hold.

Run: ``ICANS_DATA=... python benchmarks/eeg_clips.py`` (about a minute). Results: ``benchmarks/results/eeg/clips.md``,
``clips.json``, ``ve_icans_points.json``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icans.core.random import stream
from icans.datasets.ve_icans import FEATURES
from icans.signals.eeg.analyse import EegResult, analyse
from icans.signals.eeg.findings import findings, rules, ve_icans_findings, window_findings
from icans.signals.eeg.points import VE_ICANS_ORDER, fit_points
from icans.signals.eeg.scores import ve_cam_s, ve_cam_s_points

RESULTS = Path(__file__).parent / "results" / "eeg"
SEED = 20261125
BOOTSTRAP = 2000
FOLDS, REPEATS = 10, 5
MAIN = ("automatic", "left_out")
PUBLISHED = "0.58 [0.47-0.66]"
#: What was asked: question, labels that are positive, features, whether low values are positive, what was asked for.
QUESTIONS: tuple[tuple[str, tuple[str, ...], tuple[str, ...], bool, float | None], ...] = (
    ("diffuse delta against normal", ("Diffuse delta",), ("dtabr",), False, 0.98),
    ("diffuse delta against normal", ("Diffuse delta",), ("median_frequency",), True, 0.98),
    ("burst suppression", ("Burst suppression",), ("burst_floor_ratio", "attenuation_share"), False, 0.95),
    ("suppression or attenuation", ("Burst suppression", "Extreme low voltage", "Intermittent brief attenuation"),
     ("quiet_share",), False, 0.85),
    ("GPD", ("GPD",), ("gpd_rate",), False, 0.80),
    ("low voltage", ("Extreme low voltage", "Moderately low voltage"), ("low_share",), False, 0.90),
    ("brief attenuation", ("Intermittent brief attenuation",), ("attenuation_share",), False, None),
    ("LPD", ("LPD",), ("lpd_rate",), False, None),
    ("GRDA", ("GRDA",), ("grda_index",), False, None),
    ("LRDA", ("LRDA",), ("lrda_index",), False, None),
    ("BiPD", ("BiPD",), ("bipd_rate",), False, None),
    ("NCSE", ("NCSE",), ("seizure_index",), False, None),
)  # fmt: skip


def clips(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, EegResult]]:
    """Features (one row a clip), labels, and results by clip."""
    labels = pd.read_csv(folder / "labels.csv").set_index("clip")
    results = {clip: analyse(folder / f"{clip}.edf") for clip in labels.index}
    rows = {clip: result.windows.iloc[0] for clip, result in results.items()}
    return pd.DataFrame(rows).T.astype(float), labels, results


def auroc(values: np.ndarray, positive: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(positive, values))


def score_interval(value: float, positives: int, negatives: int, z: float = 1.96) -> tuple[float, float]:
    """Score interval of an AUROC that does not shrink to a point at 1 (Newcombe 2006, method 5,
    doi:10.1002/sim.2324; recalled): all values that differ from the estimate by less than z standard errors there.
    """
    grid = np.linspace(0, 1, 20_001)[1:-1]
    half = (positives + negatives) / 2 - 1
    variance = grid * (1 - grid) * (1 + half * ((1 - grid) / (2 - grid) + grid / (1 + grid))) / (positives * negatives)
    inside = np.abs(grid - value) <= z * np.sqrt(variance)
    return float(grid[inside].min()), float(min(1.0, grid[inside].max() + 5e-5))


def wilson(hits: float, n: float, z: float = 1.96) -> str:
    if n == 0:
        return "-"
    p = hits / n
    centre, spread = (p + z * z / (2 * n)) / (1 + z * z / n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = centre - spread / (1 + z * z / n), centre + spread / (1 + z * z / n)
    return f"{int(hits)}/{int(n)} [{max(low, 0):.2f}-{min(high, 1):.2f}]"


def best_cut(values: np.ndarray, positive: np.ndarray) -> float:
    """The middle of the gap with the largest sum of sensitivity and specificity (values at or above are positive)."""
    ordered = np.unique(values)
    cuts = np.concatenate([[ordered[0] - 1], (ordered[:-1] + ordered[1:]) / 2, [ordered[-1] + 1]])
    gain = [(values[positive] >= c).mean() + (values[~positive] < c).mean() for c in cuts]
    return float(cuts[int(np.argmax(gain))])


def left_out_calls(values: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Calls of each clip by the threshold of the others; a class with one clip has no threshold without it (NaN)."""
    calls = np.full(len(values), np.nan)
    for i in range(len(values)):
        rest = np.arange(len(values)) != i
        if 0 < positive[rest].sum() < rest.sum():
            calls[i] = values[i] >= best_cut(values[rest], positive[rest])
    return calls


def discrimination(table: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for question, names, features, low, wanted in QUESTIONS:
        positive = labels[list(names)].max(axis=1).astype(bool)
        chosen = positive | (labels["ve_cam_s"] == 0) if "against normal" in question else positive | True
        for feature in features:
            values = (-1 if low else 1) * table.loc[chosen, feature].to_numpy()
            truth = positive[chosen].to_numpy()
            value = auroc(values, truth)
            interval = score_interval(value, int(truth.sum()), int((~truth).sum()))
            calls = left_out_calls(values, truth)
            known = ~np.isnan(calls)
            cut = best_cut(values, truth) * (-1 if low else 1)
            rows.append({
                "question": question, "feature": feature, "positive": int(truth.sum()), "negative": int((~truth).sum()),
                "auroc": value, "low": interval[0], "high": interval[1], "asked": wanted, "cut": cut,
                "sensitivity": wilson(calls[known & truth].sum(), (known & truth).sum()),
                "specificity": wilson((1 - calls[known & ~truth]).sum(), (known & ~truth).sum()),
            })  # fmt: skip
    return pd.DataFrame(rows)


def spearman(a: np.ndarray, b: np.ndarray, seed: str) -> tuple[float, float, float]:
    """Rank correlation with a percentile interval over clips."""
    from scipy.stats import spearmanr

    rng = stream(SEED, "eeg", seed)
    drawn = []
    while len(drawn) < BOOTSTRAP:
        pick = rng.integers(0, len(a), len(a))
        if np.ptp(a[pick]) > 0 and np.ptp(b[pick]) > 0:
            drawn.append(spearmanr(a[pick], b[pick])[0])
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(spearmanr(a, b)[0]), float(low), float(high)


def left_out_findings(table: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Findings of each clip, the first limit of every rule that was chosen on clips learned from the other clips."""
    found = window_findings(table)
    names = ve_cam_s_points()["labels"]
    for name, rule in rules().items():
        if rule["from"] != "clips":
            continue
        feature = "seizure_index" if name == "ncse" else rule["all"][0][0]
        calls = left_out_calls(table[feature].to_numpy(), labels[names[name]].to_numpy().astype(bool))
        others = window_findings(table.assign(**{feature: 1e9, "seizure_share": 1.0}))[name].to_numpy()
        found[name] = calls * others
    return found


def scores(table: pd.DataFrame, labels: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Automatic scores of every clip with the package's limits, and with limits that never saw the clip."""
    unseen = left_out_findings(table, labels)
    rows = []
    for clip in table.index:
        fixed = ve_cam_s(findings(table.loc[[clip]]))
        blind = ve_cam_s({k: None if np.isnan(v) else bool(v) for k, v in unseen.loc[clip].items()})
        without = ve_cam_s({**findings(table.loc[[clip]]), "ncse": None})
        rows.append({"clip": clip, "expert": labels.loc[clip, "ve_cam_s"], "automatic": fixed.value,
                     "left_out": blind.value, "without_seizure": without.value,
                     "found": ", ".join(fixed.parts)})  # fmt: skip
    frame = pd.DataFrame(rows)
    expert = frame["expert"].to_numpy()
    agreement = {
        name: spearman(frame[name].to_numpy(), expert, name) for name in ("automatic", "left_out", "without_seizure")
    }
    below = expert < 20
    agreement["automatic, severe clips left out"] = spearman(
        frame.loc[below, "automatic"].to_numpy(), expert[below], "b"
    )
    return frame, {
        "spearman": agreement,
        "mean absolute difference": {n: float((frame[n] - frame["expert"]).abs().mean()) for n in MAIN},
        "within 2 points": {n: int(((frame[n] - frame["expert"]).abs() <= 2).sum()) for n in MAIN},
    }  # fmt: skip


def per_finding(table: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Sensitivity and specificity of every finding, limits of the package and left out."""
    names = ve_cam_s_points()["labels"]
    fixed, unseen = window_findings(table), left_out_findings(table, labels)
    rows = []
    for name in fixed:
        truth = labels[names[name]].to_numpy().astype(bool)
        row: dict[str, Any] = {"finding": name, "limits from": rules()[name]["from"]}
        for title, calls in (("", fixed[name].to_numpy()), (", left out", unseen[name].to_numpy())):
            known = ~np.isnan(calls)
            row[f"sensitivity{title}"] = wilson(calls[known & truth].sum(), (known & truth).sum())
            row[f"specificity{title}"] = wilson((1 - calls[known & ~truth]).sum(), (known & ~truth).sum())
        rows.append(row)
    return pd.DataFrame(rows)


def ve_icans(folder: Path) -> tuple[pd.DataFrame, dict[str, Any], Any]:
    """Grouped cross-validation of whole points, and the points of all pages."""
    data = pd.read_csv(folder / "features_and_grade.csv").dropna(subset=["icans"])
    table, grade = data[list(FEATURES)].to_numpy(dtype=float), data["icans"].to_numpy(dtype=float)
    patient = data["SID"].to_numpy()
    held = np.zeros((REPEATS, len(grade)))
    for repeat in range(REPEATS):
        order = stream(SEED, "eeg", "folds", repeat).permutation(np.unique(patient))
        fold = pd.Series(np.arange(len(order)) % FOLDS, index=order)[patient].to_numpy()
        for k in range(FOLDS):
            train = fold != k
            learned = fit_points(table[train], FEATURES, grade[train], VE_ICANS_ORDER)
            held[repeat, ~train] = learned.scores(table[~train], FEATURES)
    rng = stream(SEED, "eeg", "patients")
    ids = np.unique(patient)
    rows_of = {i: np.flatnonzero(patient == i) for i in ids}
    picks = [np.concatenate([rows_of[i] for i in rng.choice(ids, len(ids))]) for _ in range(BOOTSTRAP // 2)]

    def told(statistic: Any) -> tuple[float, float, float]:
        value = float(np.mean([statistic(h, grade) for h in held]))
        drawn = [np.nanmean([statistic(h[p], grade[p]) for h in held]) for p in picks]
        return value, *(float(v) for v in np.nanpercentile(drawn, [2.5, 97.5]))

    def part(cut: float) -> Any:
        return lambda h, g: auroc(h, g >= cut) if 0 < (g >= cut).sum() < len(g) else np.nan

    rows = [
        {"statistic": "Pearson r with the grade", "n positive": "", "value": told(lambda h, g: np.corrcoef(h, g)[0, 1])}
    ]
    for cut in (0.5, 1.0, 2.0, 3.0, 4.0):
        count = f"{int((grade >= cut).sum())} of {len(grade)}"
        rows.append({"statistic": f"AUROC, grade >= {cut:g}", "n positive": count, "value": told(part(cut))})
    source = ("learned on ve_icans_eeg (Jones et al. 2022, doi:10.1038/s41598-022-24010-1, data CC BY-NC 4.0), "
              f"{len(grade)} pages of {len(ids)} patients")  # fmt: skip
    final = fit_points(table, FEATURES, grade, VE_ICANS_ORDER, source=source)
    return pd.DataFrame(rows), {"pages": len(grade), "patients": len(ids)}, final


def markdown(frame: pd.DataFrame, digits: int = 2) -> str:
    def shown(value: Any) -> str:
        if isinstance(value, tuple):
            return f"{value[0]:.{digits}f} [{value[1]:.{digits}f}-{value[2]:.{digits}f}]"
        if value is None or (isinstance(value, float) and np.isnan(value)):
            return ""
        return f"{value:.{digits}f}" if isinstance(value, float) else str(value)

    lines = ["| " + " | ".join(map(str, frame.columns)) + " |", "|" + "---|" * len(frame.columns)]
    lines += ["| " + " | ".join(shown(v) for v in row) + " |" for row in frame.itertuples(index=False)]
    return "\n".join(lines)


def main() -> None:
    root = Path(os.environ["ICANS_DATA"])
    table, labels, results = clips(root / "vecams_eeg_clips")
    parted, (frame, agreement) = discrimination(table, labels), scores(table, labels)
    found = per_finding(table, labels)
    grades, size, points = ve_icans(root / "ve_icans_eeg")
    ours = np.array([points.score(ve_icans_findings(r.windows, r.spectrogram)) for r in results.values()])
    agreement["spearman"]["VE-ICANS-style points, automatic"] = spearman(ours, labels["ve_cam_s"].to_numpy(float), "i")
    RESULTS.mkdir(parents=True, exist_ok=True)
    points.write(RESULTS / "ve_icans_points.json")
    shown = parted.assign(auroc=list(zip(parted["auroc"], parted["low"], parted["high"], strict=True)))
    text = [
        "# EEG: agreement with experts\n", __doc__.split("Run:")[0].strip() + "\n",
        f"## Features on {len(table)} clips\n",
        "AUROC with a 95 % score interval (Newcombe). Sensitivity and specificity: threshold learned with the clip "
        "left out (Wilson intervals); a class of one clip has no threshold without it. There is ONE normal clip and "
        "ONE with burst suppression: an AUROC of 1 then says that one clip lies at the end of the order, no more.\n",
        markdown(shown.drop(columns=["low", "high"])), "\n## Findings\n",
        "Limits of the package, and limits learned without the clip (where they were chosen on clips at all).\n",
        markdown(found), "\n## VE-CAM-S, automatic against expert\n",
        markdown(pd.DataFrame([{"score": k, "Spearman": v} for k, v in agreement["spearman"].items()])),
        "\n" + "\n".join(f"* {k}: {v}" for k, v in agreement.items() if k != "spearman"),
        "\n`left_out`: limits that never saw the clip. `without_seizure`: suspicion of a seizure not counted.\n",
        markdown(frame), "\n## VE-ICANS: whole points under order constraints\n",
        f"{size['pages']} pages of {size['patients']} patients; {FOLDS} folds by patient, {REPEATS} times; intervals "
        f"from resampled patients. Published, on all 315 pages of 120 patients: r = {PUBLISHED}.\n",
        markdown(grades), "\nPoints learned from all pages:\n",
        markdown(pd.DataFrame([{"finding": k, "points": v} for k, v in points.weights.items()])),
    ]  # fmt: skip
    (RESULTS / "clips.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    record = {"features": parted.to_dict("records"), "agreement": agreement, "ve_icans": grades.to_dict("records"),
              "scores": frame.to_dict("records"), "findings": found.to_dict("records")}  # fmt: skip
    (RESULTS / "clips.json").write_text(json.dumps(record, indent=1, default=str) + "\n", encoding="utf-8")
    print("\n".join(text))


if __name__ == "__main__":
    main()
