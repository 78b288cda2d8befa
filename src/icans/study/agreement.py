"""Grades of the same patients under two schemes: how often they agree."""

from __future__ import annotations

from itertools import combinations

import pandas as pd

from icans.cohort.cohort import Cohort
from icans.harmonize.grading.agreement import agreement
from icans.harmonize.grading.cohort import maximum_grades

#: Fewest patients with both grades.
MIN_PAIRS = 10


def scheme_agreement(cohort: Cohort, seed: int) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    """Each patient's highest grade under every pair of schemes.

    Returns
    -------
    (DataFrame or None, DataFrame or None)
        Counts (toxicity, scheme_a, scheme_b, grade_a, grade_b, n) and statistics (toxicity, scheme_a, scheme_b, n,
        exact, kappa, low, high, higher_a, higher_b: patients graded higher by either); None where no pair
        has enough patients.
    """
    highest = maximum_grades(cohort.grades)
    highest = highest.assign(label=highest["scheme"].astype(str))
    if "source" in highest:
        several = highest.groupby(["toxicity", "scheme"])["source"].transform("nunique") > 1
        highest.loc[several, "label"] += " (" + highest.loc[several, "source"].astype(str) + ")"
    counts, statistics = [], []
    for toxicity, part in highest.groupby("toxicity"):
        wide = part.pivot_table(index="patient_id", columns="label", values="grade", aggfunc="max")
        for a, b in combinations(sorted(wide.columns), 2):
            pair = wide[[a, b]].dropna()
            if len(pair) < MIN_PAIRS:
                continue
            names = {"toxicity": toxicity, "scheme_a": a, "scheme_b": b}
            table = pair.groupby([a, b]).size().rename("n").reset_index()
            counts.append(table.rename(columns={a: "grade_a", b: "grade_b"}).assign(**names))
            found = agreement(pair[a], pair[b], seed=seed)
            low, high = found.kappa_ci
            numbers = {"n": found.n, "exact": found.exact, "kappa": found.kappa, "low": low, "high": high}
            higher = {"higher_a": found.higher_first, "higher_b": found.higher_second}
            statistics.append({**names, **numbers, **higher})
    if not counts:
        return None, None
    return pd.concat(counts, ignore_index=True), pd.DataFrame(statistics)
