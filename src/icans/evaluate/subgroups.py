"""Performance in groups of patients (age, sex, race, product, site, disease), with a least number of events.

Groups are described with intervals; a verdict is given only where a group has at least :data:`MIN_EVENTS` patients
with the event and as many known to be free of it. Many groups are looked at: one in twenty intervals misses by chance.

References: Collins GS et al., BMJ 2024;385:e078378 (TRIPOD+AI, fairness and subgroups); Riley RD et al., BMJ
2016;353:i3140 (heterogeneity between groups).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.evaluate.bootstrap import patient_counts, percentile_interval
from icans.evaluate.calibration import logit
from icans.evaluate.censoring import Floats, horizon_status
from icans.evaluate.discrimination import auc_pairs, safe_ratio
from icans.evaluate.net_benefit import net_benefit_of_status
from icans.evaluate.smooth import recalibration_slope
from icans.evaluate.tables import Repeat, check_predictions, groups

#: Fewest patients with and without the event for a verdict (protocol, fairness).
MIN_EVENTS = 20
#: Columns of the patients table that are looked at, where they are filled in.
COLUMNS = ("age_y", "sex", "race", "ethnicity", "product", "costimulation", "site", "disease")
#: Ages at which groups begin: children, young adults, adults, and the age from which trials call patients older.
AGES = (0.0, 18.0, 40.0, 65.0)
#: Threshold whose net benefit is compared: the middle of the declared range.
THRESHOLD = 0.20
NOT_RECORDED = "not recorded"
#: Values that a well-calibrated forecast has in every group.
TARGETS = {"oe": 1.0, "slope": 1.0}


def group_labels(patients: pd.DataFrame, columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """Group of each patient by column, as text; ages in bands; columns with one value only are left out.

    Parameters
    ----------
    patients
        The patients table of a cohort (patient_id and columns).

    Returns
    -------
    DataFrame
        Indexed by patient_id.
    """
    table = patients.set_index(patients["patient_id"].astype(str))
    found = {}
    for name in columns:
        if name not in table:
            continue
        label = _age_bands(table[name]) if name == "age_y" else table[name].astype(object)
        label = label.where(label.notna(), NOT_RECORDED).astype(str)
        if label.nunique() > 1:
            found[name] = label
    return pd.DataFrame(found, index=table.index)


def _age_bands(age: pd.Series) -> pd.Series:
    names = [f"{a:g}-{b - 1:g} y" for a, b in pairwise(AGES)] + [f"{AGES[-1]:g} y and older"]
    return pd.cut(age, [*AGES, np.inf], right=False, labels=names).astype(object)


def subgroup_table(
    predictions: pd.DataFrame,
    labels: pd.DataFrame | Mapping[str, pd.Series],
    *,
    n_boot: int = 200,
    seed: int = 0,
    level: float = 0.95,
    min_events: int = MIN_EVENTS,
    threshold: float = THRESHOLD,
) -> pd.DataFrame:
    """AUC, O/E, slope and net benefit in every group, and their difference from all other patients.

    Parameters
    ----------
    predictions
        Prediction table; forecasts are averaged over repeats.
    labels
        Group of each patient, one column a grouping, index patient_id (:func:`group_labels`).
    n_boot, seed, level
        Resamples of patients (within the group and within the others).
    min_events
        Fewest patients with and without the event for a verdict.
    threshold
        Threshold of the net benefit.

    Returns
    -------
    DataFrame
        task, model, landmark_h, horizon_h, grouping, level, metric (auc, oe, slope, net_benefit), value, low, high,
        others, difference, difference_low, difference_high, n, events, free, verdict. Verdicts: ``uninformative`` (too
        few), ``differs`` (the difference's interval excludes 0), ``off target`` (O/E or slope: the interval excludes
        1, as it may in the others), ``no difference seen``.
    """
    table = pd.DataFrame(labels)
    rows: list[dict[str, object]] = []
    for group in groups(check_predictions(predictions)):
        mean = group.averaged()
        mine = table.reindex(mean.patient_id)
        for grouping in table.columns:
            label = mine[grouping].fillna(NOT_RECORDED).to_numpy().astype(str)
            for name in sorted(set(label)):
                inside = label == name
                if inside.all():
                    continue
                about = {**group.key, "grouping": grouping, "level": name}
                rows += _level_rows(about, mean, inside, group.horizon_h, n_boot, seed, level, min_events, threshold)
    return pd.DataFrame(rows)


def _level_rows(
    about: dict[str, object], mean: Repeat, inside: NDArray[np.bool_], horizon: float,
    n_boot: int, seed: int, level: float, min_events: int, threshold: float,
) -> list[dict[str, object]]:  # fmt: skip
    events = int(((mean.event == 1) & (mean.time <= horizon) & inside).sum())
    known = (mean.time >= horizon) | (mean.event > 0)
    counts = {"n": int(inside.sum()), "events": events, "free": int((known & inside).sum()) - events}
    enough = min(counts["events"], counts["free"]) >= min_events
    own, own_drawn = _numbers(
        mean, inside, horizon, threshold, n_boot, seed, (str(about["grouping"]), str(about["level"]))
    )
    rest, rest_drawn = _numbers(mean, ~inside, horizon, threshold, n_boot, seed, (str(about["grouping"]), "others"))
    rows: list[dict[str, object]] = []
    for metric, value in own.items():
        interval = percentile_interval(value, own_drawn[metric], level)
        gap = percentile_interval(value - rest[metric], own_drawn[metric] - rest_drawn[metric], level)
        rows.append(
            {**about, "metric": metric, "value": value, "low": interval.low, "high": interval.high,
             "others": rest[metric], "difference": gap.value, "difference_low": gap.low, "difference_high": gap.high,
             **counts,
             "verdict": _verdict(metric, interval.low, interval.high, gap.low, gap.high) if enough else "uninformative"}
        )  # fmt: skip
    return rows


def _numbers(
    mean: Repeat, chosen: NDArray[np.bool_], horizon: float, threshold: float, n_boot: int, seed: int,
    keys: tuple[str, str],
) -> tuple[dict[str, float], dict[str, Floats]]:  # fmt: skip
    """Metrics of some patients: the values, and those of every resample of them."""
    time, event, risk = mean.time[chosen], mean.event[chosen], mean.risk[chosen]
    counts = patient_counts(mean.patient_id[chosen], n_boot, seed, "subgroup", *keys)
    weights = np.vstack([np.ones(len(risk)), counts])
    status = horizon_status(time, event, horizon, weights)
    expected = safe_ratio(weights @ risk, weights.sum(axis=-1))
    found = {
        "auc": safe_ratio(*auc_pairs(risk, status.case, status.control)),
        "oe": safe_ratio(np.asarray(status.incidence), expected),
        "slope": recalibration_slope(logit(risk), np.nan_to_num(status.case), np.nan_to_num(status.control)),
        "net_benefit": net_benefit_of_status(risk, status, (threshold,))[..., 0],
    }
    return {k: float(v[0]) for k, v in found.items()}, {k: v[1:] for k, v in found.items()}


def _verdict(metric: str, low: float, high: float, gap_low: float, gap_high: float) -> str:
    if not np.isfinite([gap_low, gap_high]).all():
        return "uninformative"
    differs = not gap_low <= 0 <= gap_high
    if differs:
        return "differs"
    target = TARGETS.get(metric)
    return "no difference seen" if target is None or low <= target <= high else "off target"
