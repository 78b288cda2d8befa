"""What the emulation rests on: who could have been in both arms, what the weights do, and whether they balance."""

from __future__ import annotations

import numpy as np
import pandas as pd

from icans.intervene.emulate.courses import Courses, Protocol
from icans.intervene.emulate.estimate import ARMS, Cloned, Emulated
from icans.intervene.emulate.weights import may_start

#: Chances outside of these count as near violations of positivity, and effective numbers below as too few.
NEAR, FEW = (0.05, 0.95), 10.0


def positivity(courses: Courses, cloned: Cloned, protocol: Protocol) -> pd.DataFrame:
    """By day: patients who could have started, who did, and the range of their modelled chances."""
    open_ = may_start(courses, protocol.outcome)
    rows = []
    for k in range(open_.shape[1]):
        mine = open_[:, k]
        if mine.any():
            p = cloned.start_chance[mine, k]
            started = int((courses.start[mine] == k).sum())
            near = int(((p < NEAR[0]) | (p > NEAR[1])).sum())
            rows.append((k, int(mine.sum()), started, float(p.min()), float(np.median(p)), float(p.max()), near))
    return pd.DataFrame(rows, columns=["day", "could start", "started", "lowest", "median", "highest", "near 0 or 1"])


def weights_table(emulated: Emulated) -> pd.DataFrame:
    """By arm at the end of follow-up: clones that did as asked, mean and largest weight, effective number."""
    rows = []
    curve = emulated.curve()
    for a, arm in enumerate(ARMS):
        mine = emulated.cloned.stays[a, :, -1]
        w = emulated.cloned.weight[a, mine, -1]
        end = curve[(curve["arm"] == arm)].iloc[-1]
        if mine.any():
            rows.append((arm, int(mine.sum()), float(w.mean()), float(w.max()), float(end["effective"])))
    return pd.DataFrame(rows, columns=["arm", "did as asked", "mean weight", "largest weight", "effective number"])


def balance(courses: Courses, cloned: Cloned) -> pd.DataFrame:
    """Standardised difference of what was known at time zero between an arm's clones at the end and all patients.

    Before and after weighting; beyond 0.1 is usually called unbalanced (Austin 2009, doi 10.1002/sim.3697).
    """
    rows = []
    base = courses.covariates[:, 0]
    for j, name in enumerate(courses.names):
        sd = float(base[:, j].std())
        if sd < 1e-9:
            continue
        for a, arm in enumerate(ARMS):
            mine = cloned.stays[a, :, -1]
            if not mine.any():
                continue
            w = cloned.weight[a, mine, -1]
            crude = (base[mine, j].mean() - base[:, j].mean()) / sd
            weighted = (np.average(base[mine, j], weights=w) - base[:, j].mean()) / sd
            rows.append((name, arm, float(crude), float(weighted)))
    return pd.DataFrame(rows, columns=["covariate", "arm", "before weighting", "after weighting"])


def limits(emulated: Emulated) -> list[str]:
    """What keeps the answer from being one, in sentences."""
    c, protocol = emulated.courses, emulated.protocol
    events = int((c.first(protocol.outcome) <= protocol.days).sum())
    count = len(c.patients)
    found = [f"{count} patients with {events} events: an interval this wide is what they allow."]
    table = weights_table(emulated)
    for row in table.itertuples(index=False):
        if row[4] < FEW:
            found.append(f"The arm {row[0]!r} rests on an effective number of {row[4]:.1f} patients.")
    if emulated.shares_estimable < 0.99:
        found.append(f"In {100 * (1 - emulated.shares_estimable):.0f} % of bootstrap samples an arm had nobody.")
    open_ = positivity(c, emulated.cloned, protocol)
    if open_["near 0 or 1"].sum():
        found.append(
            f"On {int(open_['near 0 or 1'].sum())} patient-days treatment was all but certain or all but ruled out."
        )
    found += [
        "Whether grade or treatment came first within a day is not recorded; the grade is taken to come first.",
        "Doses and kinds of steroid are not told apart, nor steroids for cytokine release from those for ICANS.",
        "What else moved the choice of physicians (trend, site, age, laboratory) is not in the data.",
    ]
    if protocol.after_last == "resolved":
        found.append("After the last recorded grade (mostly discharge) it is assumed that no event came.")
    return found
