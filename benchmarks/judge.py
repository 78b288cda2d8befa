"""How right the rest of the judge is, on SYNTHETIC data with known truth and against the ``shap`` package.

Run with ``python benchmarks/judge.py`` (``shap``, no dependency of the package, is needed for the first part, which
is skipped with a word where it is not installed). Parts: Shapley values against ``shap``; error of sampled
values; coverage of the meta-analysis; size of the closed test and of the CUSUM; false verdicts on groups of patients.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from icans.core.random import stream
from icans.evaluate.closed_testing import closed_test
from icans.evaluate.drift import BY_DATE, drift
from icans.evaluate.explain import shapley as own
from icans.evaluate.meta_analysis import random_effects
from icans.evaluate.subgroups import subgroup_table

RESULTS = Path(__file__).parent / "results"


def risk_of(frame: pd.DataFrame) -> np.ndarray:
    """A curved model with an interaction."""
    x = frame.to_numpy(dtype=float)
    eta = x[:, 0] * x[:, 1] + np.sin(x[:, 2]) - 0.5 * x[:, 3] ** 2 + 0.2 * x[:, 4]
    return 1 / (1 + np.exp(-eta))


def table(n: int = 60) -> pd.DataFrame:
    values = stream(1, "judge benchmark").normal(size=(n, 5))
    index = pd.MultiIndex.from_arrays([[f"p{i}" for i in range(n)], [72.0] * n], names=["patient_id", "landmark_h"])
    return pd.DataFrame(values, columns=[f"x{k}" for k in range(5)], index=index)


def against_shap() -> list[dict[str, object]]:
    """Largest difference from shap's exact explainer, and of LightGBM's own values from shap's tree explainer."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import shap
    except ImportError:
        print("shap is not installed: the comparison is left out")
        return []
    import lightgbm

    frame = table()
    background, rows = frame.iloc[:40], frame.iloc[40:50]
    mine = own.shapley(risk_of, rows, background, {c: [c] for c in frame.columns}, scale="risk").to_numpy()
    masker = shap.maskers.Independent(background.to_numpy(), max_samples=40)
    exact = shap.explainers.Exact(lambda x: risk_of(pd.DataFrame(x, columns=frame.columns)), masker)
    found = [{"part": "Shapley values", "what": "exact, against shap Exact: largest difference",
              "value": float(np.abs(mine - exact(rows.to_numpy()).values).max())}]  # fmt: skip
    x = stream(2, "trees").normal(size=(400, 5))
    y = (risk_of(pd.DataFrame(x)) > 0.5).astype(int)
    data = lightgbm.Dataset(x, y)
    trees = lightgbm.train({"objective": "binary", "num_leaves": 4, "verbosity": -1, "num_threads": 1}, data, 40)
    parts = np.asarray(trees.predict(x[:50], pred_contrib=True))[:, :-1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = np.asarray(shap.TreeExplainer(trees).shap_values(x[:50]))
    theirs = theirs[-1] if theirs.ndim == 3 else theirs
    found.append({"part": "Shapley values", "what": "boosted trees' reasons, against shap TreeExplainer",
                  "value": float(np.abs(parts - theirs).max())})  # fmt: skip
    return found


def sampled() -> list[dict[str, object]]:
    frame = table()
    background, rows = frame.iloc[:20], frame.iloc[40:50]
    groups = {c: [c] for c in frame.columns}
    # On the risk scale: a game of pairs only (this model's log odds) is exact with any antithetic pair.
    exact = own.shapley(risk_of, rows, background, groups, scale="risk").to_numpy()
    found: list[dict[str, object]] = []
    limit, own.EXACT_UP_TO = own.EXACT_UP_TO, 0
    for pairs in (4, 16, 64):
        near = own.shapley(risk_of, rows, background, groups, permutations=pairs, scale="risk").to_numpy()
        found.append({"part": "Shapley values", "what": f"{pairs} pairs of permutations: RMS error (risk)",
                      "value": float(np.sqrt(((near - exact) ** 2).mean()))})  # fmt: skip
    own.EXACT_UP_TO = limit
    return found


def meta_analysis(repeats: int = 1000) -> list[dict[str, object]]:
    """Coverage of the mean and of a new group, true SD between groups 0.3."""
    found: list[dict[str, object]] = []
    for k in (3, 5, 10, 20):
        rng = stream(3, "meta", k)
        mean = new = 0
        for _ in range(repeats):
            truth, v = rng.normal(0.8, 0.3, k + 1), rng.uniform(0.02, 0.10, k)
            pooled = random_effects(rng.normal(truth[:k], np.sqrt(v)), v)
            mean += pooled.low <= 0.8 <= pooled.high
            new += pooled.expect_low <= truth[k] <= pooled.expect_high
        for what, count in (("the mean", mean), ("a new group", new)):
            found.append({"part": "Meta-analysis", "what": f"{k} groups: coverage of {what}", "value": count / repeats})
    return found


def binary(n: int, seed: int, twist: float = 1.0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = stream(seed, "judge binary", n)
    lp = rng.normal(-0.8, 1.0, n)
    event = (rng.random(n) < 1 / (1 + np.exp(-shift - twist * lp))).astype(int)
    return 1 / (1 + np.exp(-lp)), np.where(event == 1, 80.0, 168.0), event


def closed(repeats: int = 400) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for n in (50, 100, 200):
        for name, twist, shift in (("none", 1.0, 0.0), ("intercept", 1.0, 0.7), ("intercept and slope", 0.4, 0.0)):
            hits = total = 0
            for k in range(repeats):
                risk, time, event = binary(n, k, twist, shift)
                if min(event.sum(), n - event.sum()) < 5:
                    continue
                total += 1
                hits += closed_test(time, event, risk, 168.0).choice == name
            found.append({"part": "Closed test", "what": f"n = {n}, needed: {name}: chosen", "value": hits / total})
    return found


def false_alarms(repeats: int = 150) -> list[dict[str, object]]:
    """Share of series without drift that cross a CUSUM limit; share of false verdicts on a random half of patients."""
    crossed, differs = [], []
    for k in range(repeats):
        risk, time, event = binary(200, 5000 + k)
        ids = np.array([f"p{i:04d}" for i in range(200)])
        result = drift(
            ids, time, event, risk, 168.0, pd.Series(np.arange(200.0), index=ids), BY_DATE, n_boot=20, seed=k
        )
        summary = result.summary.set_index("metric")["value"]
        crossed.append(summary["crossed_up"] + summary["crossed_down"] > 0)
        frame = pd.DataFrame({"task": "t", "model": "m", "landmark_h": 72.0, "horizon_h": 168.0, "repeat": 0, "fold": 0,
                              "patient_id": ids, "risk": risk, "time_h": time, "event": event})  # fmt: skip
        half = pd.DataFrame({"half": stream(k, "half").choice(["a", "b"], 200)}, index=ids)
        verdict = subgroup_table(frame, half, n_boot=100, seed=k)
        differs.append((verdict.loc[verdict["level"] == "a", "verdict"] == "differs").mean())
    return [
        {"part": "Drift", "what": "n = 200, no drift: series that cross a limit", "value": float(np.mean(crossed))},
        {"part": "Groups", "what": "n = 200, no difference: comparisons that differ", "value": float(np.mean(differs))},
    ]


def main() -> None:
    rows = [*against_shap(), *sampled(), *meta_analysis(), *closed(), *false_alarms()]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "judge.json").write_text(json.dumps(rows, indent=1) + "\n")
    lines = ["# The rest of the judge against known truth (SYNTHETIC) and against shap", "",
             "Wanted: differences near 0; coverage 0.95; the needed update chosen; false alarms and verdicts 0.05.", "",
             "| part | what | value |", "|---|---|---|"]  # fmt: skip
    for row in rows:
        value = float(row["value"])  # type: ignore[arg-type]
        lines.append(
            f"| {row['part']} | {row['what']} | {value:.2g} |"
            if value < 0.01
            else f"| {row['part']} | {row['what']} | {value:.3f} |"
        )
    (RESULTS / "judge.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
