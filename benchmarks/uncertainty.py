"""Coverage of the uncertainty statement on SYNTHETIC patients with known risks.

Run with ``python benchmarks/uncertainty.py``. The true risk of every test patient is known; the interval of a forecast
should hold it for 95 % of patients. Arms: the same population; a product that training has not seen (its level drawn
with the standard deviation of the published incidences); an assay that reads ``FACTOR`` times as high; results missing;
and bounds for the time of onset by product, with the model wrong on purpose.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from icans.core.random import stream
from icans.forecast.envelope import Note, unseen_sd
from icans.forecast.integrate.conformal import OnsetBound
from icans.forecast.integrate.members import member_seed
from icans.forecast.integrate.uncertainty import VennAbers, statement
from icans.forecast.ladder import Rung
from icans.forecast.models.base import Forecaster, labels
from icans.forecast.models.logistic import LastValueLogistic
from icans.forecast.outcomes import Horizon
from icans.forecast.transfer.group_effects import GroupEffects
from icans.forecast.tuning import ever_event, patient_folds
from integrate_tables import HORIZONS, QUICK, Truth, quick_stack, truth

RESULTS = Path(__file__).parent / "results"
EFFECTS = {"static.age_y": 0.6, "lab.crp.last": 0.8, "lab.il_6.last": 0.5}
REPEATS, REFITS, TEST, FACTOR = 8, 20, 300, 1.5
#: Training cohorts of the integration layer, which is some ten times as slow to refit.
FEW = 3
HORIZON = HORIZONS[1]
#: Products multiply the hazard; near a risk of one half a step of the log hazard is 1.4 steps of the log odds.
PER_HAZARD = 1.4


def models(table: pd.DataFrame) -> dict[str, Forecaster]:
    """A single rung and the integration layer."""
    wide = (0.1, 0.01, 0.001)
    return {"logistic": LastValueLogistic(wide, inner_folds=2), "integration": quick_stack(table)}


def sample(data: Truth, seed: int) -> Truth:
    """Patients drawn with repetition."""
    ids = np.unique(data.outcome["patient_id"])
    rows = data.outcome.groupby("patient_id").indices
    drawn = stream(seed, "refit").choice(ids, len(ids))
    return data.where(np.concatenate([rows[p] for p in drawn]))


def out_of_fold(model: Forecaster, data: Truth, seed: int) -> np.ndarray:
    """Risks of training patients by models that have not seen them (calibration of the bracket)."""
    fold = data.outcome["patient_id"].map(patient_folds(ever_event(data.outcome), 5, stream(seed, "cal"))).to_numpy()
    risk = np.empty(len(fold))
    for k in range(5):
        train = data.where(fold != k)
        fitted = model.fit(train.table, train.outcome, HORIZONS, member_seed(seed, "cal", k))
        risk[fold == k] = fitted.predict(data.table[fold == k], HORIZON)
    return risk


def covered(frame: pd.DataFrame, target: np.ndarray) -> tuple[float, float]:
    """Share of true risks within the interval, and its mean width."""
    low, high = frame["low"].to_numpy(), frame["high"].to_numpy()
    return float(np.mean((target >= low) & (target <= high))), float(np.mean(high - low))


def same_population(n: int, missing: float) -> list[dict[str, object]]:
    """Sample uncertainty alone, and with the bracket."""
    rows = []
    for repeat in range(REPEATS):
        data = truth(n, 100 + repeat, effects=EFFECTS, missing=missing)
        new = truth(TEST, 9000 + repeat, effects=EFFECTS, missing=missing, landmarks=(24.0,))
        y, w = labels(data.outcome, HORIZON)
        for name, model in models(data.table).items():
            if name == "integration" and (missing == 0 or repeat >= FEW):
                continue
            risk = model.fit(data.table, data.outcome, HORIZONS, repeat).predict(new.table, HORIZON)
            refits = []
            for b in range(REFITS):
                drawn = sample(data, 1000 * repeat + b)
                refits.append(model.fit(drawn.table, drawn.outcome, HORIZONS, b).predict(new.table, HORIZON))
            lower, upper, _ = VennAbers.fit(out_of_fold(model, data, repeat), y, w).bracket(risk)
            for kind, bracket in (("sample", None), ("sample + bracket", (lower, upper))):
                share, width = covered(statement(risk, refits=refits, bracket=bracket), new.risk[:, 1])
                rows.append({"arm": f"same population, {missing:.0%} missing", "n": n, "model": name, "statement": kind,
                             "covered": share, "width": width})  # fmt: skip
    return rows


def new_product(n: int) -> list[dict[str, object]]:
    """Training on four products; a fifth is asked about: by a plain rung, and by one with product effects."""
    rows = []
    names = np.array(["a", "b", "c", "d"])
    for repeat in range(REPEATS):
        rng = stream(repeat, "products")
        level = rng.normal(0, unseen_sd("product") / PER_HAZARD, 5)
        product = rng.integers(0, 4, n)
        data = truth(n, 200 + repeat, effects=EFFECTS, missing=0.0, shift=level[product], product=names[product])
        new = truth(TEST, 8000 + repeat, effects=EFFECTS, missing=0.0, shift=level[4],
                    product=np.array(["e"] * TEST), landmarks=(24.0,))  # fmt: skip
        plain = LastValueLogistic(**QUICK)
        risk = plain.fit(data.table.drop(columns="static.product"), data.outcome, HORIZONS, repeat).predict(
            new.table, HORIZON
        )
        refits = []
        for b in range(REFITS):
            drawn = sample(data, 1000 * repeat + b)
            fitted = plain.fit(drawn.table.drop(columns="static.product"), drawn.outcome, HORIZONS, b)
            refits.append(fitted.predict(new.table, HORIZON))
        effects = GroupEffects(Rung("r", "", plain), folds=3).fit(data.table, data.outcome, HORIZONS, repeat)
        note = (Note("group", "product", "new", unseen_sd("product")),)
        learned = (Note("group", "product", "new", float(effects.effects.tau[0])),)
        low, high = effects.interval(new.table, HORIZON)
        frames = {
            "sample only (no rule)": statement(risk, refits=refits),
            "sample + novelty (published SD)": statement(risk, refits=refits, notes=[note] * len(risk)),
            "sample + novelty (SD learned from 4 products)": statement(
                risk, refits=refits, notes=[learned] * len(risk)
            ),
            "group effects' own interval": pd.DataFrame({"low": low, "high": high}),
        }
        for kind, frame in frames.items():
            share, width = covered(frame, new.risk[:, 1])
            rows.append({"arm": "a product never seen", "n": n, "model": "logistic", "statement": kind,
                         "covered": share, "width": width})  # fmt: skip
    return rows


def new_assay(n: int) -> list[dict[str, object]]:
    """CRP from an assay that reads high or low by a factor: used as it is, with the rule, and set to missing."""
    rows = []
    for repeat in range(REPEATS):
        data = truth(n, 300 + repeat, effects=EFFECTS, missing=0.0)
        new = truth(TEST, 7000 + repeat, effects=EFFECTS, missing=0.0, landmarks=(24.0,))
        factor = FACTOR if repeat % 2 else 1.0 / FACTOR
        moved = new.table.assign(**{"lab.crp.last": new.table["lab.crp.last"] * factor})
        blank = new.table.assign(**{"lab.crp.last": np.nan})
        plain = LastValueLogistic(**QUICK)
        fitted = plain.fit(data.table, data.outcome, HORIZONS, repeat)
        refits = [
            plain.fit(d.table, d.outcome, HORIZONS, b)
            for b, d in ((b, sample(data, 1000 * repeat + b)) for b in range(REFITS))
        ]
        note = (Note("assay", "crp", "new", unseen_sd("assay")),)
        for kind, table, notes in (
            ("right assay", new.table, None), ("sample only (no rule)", moved, None),
            ("sample + novelty", moved, [note] * len(moved)), ("set to missing", blank, None),
        ):  # fmt: skip
            risk = fitted.predict(table, HORIZON)
            frame = statement(risk, refits=[m.predict(table, HORIZON) for m in refits], notes=notes)
            share, width = covered(frame, new.risk[:, 1])
            rows.append({"arm": f"assay that reads {FACTOR:g} times as high or low", "n": n, "model": "logistic",
                         "statement": kind, "covered": share, "width": width})  # fmt: skip
    return rows


def onset_by_product(n: int) -> list[dict[str, object]]:
    """Lower bounds of onset, 90 %: pooled and by product, for a model that knows no products."""
    rows = []
    windows = [Horizon(24.0 * d) for d in (1, 2, 3, 5, 7, 10)]
    for repeat in range(REPEATS):
        rng = stream(repeat, "onset")
        names, level = np.array(["a", "b"]), np.array([0.8, -0.8])
        sets = []
        for part, size, seed in (("fit", n, 0), ("calibrate", n, 1), ("test", 400, 2)):
            product = rng.integers(0, 2, size)
            lost = 0.0 if part == "test" else 0.4
            sets.append(truth(size, 10 * repeat + seed + 40000, effects=EFFECTS, missing=0.0, shift=level[product],
                              product=names[product], landmarks=(24.0,), censor=lost))  # fmt: skip
        fit, calibrate, test = sets
        model = LastValueLogistic(**QUICK)
        fitted = model.fit(fit.table.drop(columns="static.product"), fit.outcome, windows, repeat)
        curve = [np.column_stack([fitted.predict(d.table, h) for h in windows]) for d in (calibrate, test)]
        hours = [h.hours for h in windows]
        group = calibrate.table["static.product"].tolist()
        asked = test.table["static.product"].tolist()
        args = (curve[0], hours, calibrate.outcome["time_h"], calibrate.outcome["event"])
        for kind, mine in (("pooled", None), ("by product", group)):
            bound = OnsetBound.fit(*args, alpha=0.1, group=mine)
            found = bound.lower(curve[1], None if mine is None else asked)
            kept = test.outcome["time_h"].to_numpy() >= found["hours"].to_numpy()
            kept |= test.outcome["event"].to_numpy() != 1
            for g in names:
                chosen = np.array(asked) == g
                rows.append({"arm": f"onset bound 90 %, product {g}", "n": n, "model": "logistic", "statement": kind,
                             "covered": float(kept[chosen].mean()),
                             "width": float(found["hours"][chosen].mean())})  # fmt: skip
    return rows


def main() -> None:
    rows: list[dict[str, object]] = []
    for n in (100, 200, 500):
        rows += same_population(n, 0.0)
    rows += new_product(300)
    rows += new_assay(300)
    rows += onset_by_product(150)
    rows += same_population(200, 0.4)
    table = pd.DataFrame(rows).groupby(["arm", "n", "model", "statement"], sort=False)
    found = table.agg(covered=("covered", "mean"), error=("covered", "sem"), width=("width", "mean")).reset_index()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "uncertainty.json").write_text(json.dumps(found.to_dict("records"), indent=1) + "\n")
    lines = ["# Coverage of the uncertainty statement (SYNTHETIC patients, known risks)", "",
             f"{REPEATS} training cohorts in each arm ({FEW} for the integration layer), {REFITS} refits, "
             f"{TEST} test patients each; risk within "
             f"{HORIZON.label} seen from day 1; intervals of 95 %, onset bounds of 90 %. Error: of the mean over "
             "cohorts. Width: of the interval, or hours of the bound.", "",
             "| arm | n | model | statement | covered | error | width |", "|---|---|---|---|---|---|---|"]  # fmt: skip
    for line in found.to_dict("records"):
        lines.append(f"| {line['arm']} | {line['n']} | {line['model']} | {line['statement']} | {line['covered']:.3f} | "
                     f"{line['error']:.3f} | {line['width']:.3f} |")  # fmt: skip
    (RESULTS / "uncertainty.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
