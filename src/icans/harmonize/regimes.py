"""Which unit each number was stored under, found from the numbers themselves.

For each analyte the readings of :mod:`icans.harmonize.candidates` are weighed row by row with the model of
:mod:`icans.harmonize.hmm`. A reading other than the declared one is considered only where something speaks for
it that a wide distribution cannot imitate:

* values that no patient can have (outside the vocabulary's range) and that the reading makes possible, or
* two groups of series (by batch, by site, by delivery, or by the precision they were written with) that lie
  apart by the reading's factor (:mod:`icans.harmonize.groups`).

Once a reading is open, every row is judged: by what is possible, by continuity with the rows before and after,
by the number of decimals, and by what the same patient's other analytes, batch, site and delivery turned out to
be. An analyte that is merely wide opens nothing and is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.cohort import vocabulary
from icans.harmonize import groups, hmm
from icans.harmonize.candidates import KIND_WEIGHT, Reading, readings
from icans.harmonize.hmm_rows import bounds, rows_of, start_of

Array = npt.NDArray[np.float64]

#: What the patient's other analytes, batch, site or delivery may add to a reading's log weight, at most.
LINK_CAP = 4.0
#: Pseudo-series behind the share of a reading among the patients of one batch, site or other analyte's reading.
LINK_SERIES = 2.0
#: A reading may claim possible values only when impossible ones occur in this many series and this share of rows:
#: fewer are typing errors, not a unit.
SYSTEMATIC_SERIES, SYSTEMATIC_SHARE = 3, 0.002
#: Log likelihood that the systematic version of a reading must bring beyond the version for typing errors.
SYSTEMATIC = 5.0
#: Log likelihood that a reading for single rows must bring beyond calling them junk.
SINGLE = 2.0
#: Passes of expectation-maximisation when readings are compared (the final fit takes more).
SELECT_ITERATIONS = 6


@dataclass(frozen=True)
class Judged:
    """One analyte, judged: readings considered, posterior of each row, the rows' places in the table.

    ``posterior`` is (n, S + 1); the last state is junk (no reading makes the number possible).
    """

    analyte: str
    readings: tuple[Reading, ...]
    index: npt.NDArray[np.int64]
    posterior: Array
    hard: npt.NDArray[np.bool_]
    why_open: tuple[str, ...]
    series: npt.NDArray[np.int64]
    rivalry: float = 1.0

    @property
    def state(self) -> npt.NDArray[np.int64]:
        """The most probable state of each row."""
        return self.posterior.argmax(axis=1)

    @property
    def confidence(self) -> Array:
        """Posterior probability of that state; for another reading than the identity, times the probability that
        it is this reading rather than one that was left out for it.
        """
        shift = (self.state > 0) & (self.state < len(self.readings))
        return self.posterior.max(axis=1) * np.where(shift, self.rivalry, 1.0)


def judge(table: pd.DataFrame, *, features: pd.DataFrame | None = None, soft: bool = True) -> list[Judged]:
    """Judge every analyte of a measurement table whose values are in canonical units where units were declared.

    Parameters
    ----------
    table
        Measurements, sorted by patient and time, with a fresh index.
    features
        One row a patient (index ``patient_id``), text columns (site, delivery ...) that may go with a reading.
    soft
        Also open readings by comparing groups of series.

    Returns
    -------
    list of Judged
        Only analytes for which a reading other than the identity was opened, or that hold impossible values.
    """
    table, features = _light(table, features)
    prepared = [work for work in (_prepare(name, table, soft) for name in _names(table)) if work is not None]
    patients = table["patient_id"]
    extra = _row_features(table, features)
    first = {work.name: _fit(work, None) for work in prepared}
    final = {}
    for work in prepared:
        labels = _links(work, prepared, first, patients, extra)
        final[work.name] = _fit(work, _log_prior(work, first[work.name], labels)) if labels else first[work.name]
    return [
        Judged(
            w.name,
            w.readings,
            w.index,
            final[w.name].posterior,
            ~w.rows.possible[:, 0],
            w.why,
            w.rows.series,
            w.rivalry,
        )
        for w in prepared
    ]


@dataclass(frozen=True, eq=False)
class _Opened:
    """A reading to weigh (its place among the analyte's readings): for impossible values alone, or for every row.

    Where a group of patients opened it, the group and the log odds that the group speaks with; ``declared``: it was
    compared with rows that declare their unit, which therefore keep it.
    """

    reading: int
    why: str
    systematic: bool
    group: npt.NDArray[np.int64] | None = None
    log_odds: float = 0.0
    declared: bool = False


@dataclass(frozen=True)
class _Work:
    name: str
    readings: tuple[Reading, ...]
    index: npt.NDArray[np.int64]
    rows: hmm.Rows
    start: hmm.Parameters
    why: tuple[str, ...]
    rivalry: float


def _light(table: pd.DataFrame, features: pd.DataFrame | None) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The columns that are needed, patients and batches as numbers: text is slow to take apart again and again."""
    codes, patients = pd.factorize(table["patient_id"], sort=True)
    light = pd.DataFrame(
        {
            "patient_id": codes,
            "time_h": table["time_h"].to_numpy(),
            "analyte": table["analyte"].astype("category"),
            "value": table["value"].to_numpy(),
            "batch": table["batch"].to_numpy(dtype=object),
            "unit_declared": table["unit_declared"].to_numpy(bool) if "unit_declared" in table else False,
        }
    )
    if features is not None:
        features = features.reindex(patients).reset_index(drop=True)
    return light, features


def _names(table: pd.DataFrame) -> list[str]:
    known = vocabulary.analytes()
    return [name for name in table["analyte"].cat.categories if name in known]


def _prepare(name: str, table: pd.DataFrame, soft: bool) -> _Work | None:
    """Rows and starting parameters of one analyte; None where nothing speaks for another reading."""
    analyte = vocabulary.analyte(name)
    mine = np.flatnonzero(table["analyte"].cat.codes.to_numpy() == table["analyte"].cat.categories.get_loc(name))
    stored = table["value"].to_numpy()[mine]
    # A zero is zero in every multiplicative unit: where zero is possible it says nothing, elsewhere it is junk.
    keep = np.isfinite(stored) & ~((stored == 0.0) & (analyte.low <= 0.0))
    mine, stored = mine[keep], stored[keep]
    if not len(mine):
        return None
    low, high = bounds(analyte)
    hard = (stored < low) | (stored > high)
    every = readings(analyte)
    opened = _opened_by_bounds(every, stored, hard, table["patient_id"].to_numpy()[mine], analyte)
    if soft and analyte.log and len(every) > 1:
        # Where impossible values already tell of another unit, they explain why groups lie apart.
        explained = any(o.systematic for o in opened)
        taken = {o.reading for o in opened if o.systematic}
        opened += [
            _Opened(k, why, True, group, odds, declared)
            for k, why, group, odds, declared in groups.opened(stored, mine, table, every)
            if k not in taken and (declared or not explained)
        ]
    if not opened and not hard.any():
        return None
    if not any(o.systematic for o in opened):
        # Typing errors only: series without an impossible value have nothing to say.
        patient = table["patient_id"].to_numpy()[mine]
        part = np.isin(patient, np.unique(patient[hard]))
        mine, stored = mine[part], stored[part]
    return _select(name, analyte, every, opened, table, mine, stored)


def _select(
    name: str, analyte: vocabulary.Analyte, every: tuple[Reading, ...], opened: list[_Opened], table: pd.DataFrame,
    mine: npt.NDArray[np.int64], stored: Array,
) -> _Work:  # fmt: skip
    """Keep the readings that earn their place, the best first; the identity always stays.

    A reading is added when it raises the log likelihood by more than it costs. Readings that explain
    the rows nearly as well as the one that was taken are its rivals; they lower the confidence.
    """
    kept: list[_Opened] = []
    best = hmm.fit(*_problem(analyte, every, kept, table, mine, stored), iterations=SELECT_ITERATIONS).log_likelihood
    rivalry = 1.0
    while len({o.reading for o in opened} - {o.reading for o in kept}):
        scores, likelihood = {}, {}
        for trial in opened:
            if trial.reading not in {o.reading for o in kept}:
                problem = _problem(analyte, every, [*kept, trial], table, mine, stored)
                likelihood[trial] = hmm.fit(*problem, iterations=SELECT_ITERATIONS).log_likelihood
                cost = SYSTEMATIC + _penalty(len(mine)) if trial.systematic else SINGLE
                weight = float(np.log(KIND_WEIGHT[every[trial.reading].kind]))
                scores[trial] = likelihood[trial] + weight + trial.log_odds - cost
        top = max(scores, key=lambda o: scores[o])
        if scores[top] < best:
            break
        rivals = {o.reading: max(v for p, v in scores.items() if p.reading == o.reading) for o in scores}
        rivalry /= sum(float(np.exp(max(value - scores[top], -50.0))) for value in rivals.values())
        if top.group is not None:
            rivalry /= 1.0 + float(np.exp(-top.log_odds))
        kept.append(top)
        best = likelihood[top]
    kept.sort(key=lambda o: o.reading)
    rows, start = _problem(analyte, every, kept, table, mine, stored)
    chosen = (every[0], *(every[o.reading] for o in kept))
    return _Work(name, chosen, mine, rows, start, ("canonical unit", *(o.why for o in kept)), rivalry)


def _problem(
    analyte: vocabulary.Analyte, every: tuple[Reading, ...], kept: list[_Opened], table: pd.DataFrame,
    mine: npt.NDArray[np.int64], stored: Array,
) -> tuple[hmm.Rows, hmm.Parameters]:  # fmt: skip
    chosen = (every[0], *(every[o.reading] for o in kept))
    rows = rows_of(chosen, table, mine, stored, analyte)
    _, first = np.unique(rows.series, return_index=True)
    patient = table["patient_id"].to_numpy()[mine[first]]
    for place, o in enumerate(kept, start=1):
        if not o.systematic:
            rows.possible[:, place] &= ~rows.possible[:, 0]
            rows.single[place] = True
        if o.group is not None:
            rows.log_prior[:, place] += np.where(np.isin(patient, o.group), LINK_CAP, -LINK_CAP)
        if o.declared and o.group is not None:
            # A laboratory has one unit: the whole batch is in it or not, and rows that declare theirs keep it.
            open_rows = (
                np.isin(table["patient_id"].to_numpy()[mine], o.group) & ~table["unit_declared"].to_numpy()[mine]
            )
            rows.possible[~open_rows & rows.possible[:, 0], place] = False
            rows.possible[open_rows & rows.possible[:, place], 0] = False
    return rows, start_of(rows, chosen, analyte)


def _penalty(count: int) -> float:
    """Log likelihood that a reading must bring: half the logarithm of the rows for its weight and its decimals."""
    return 0.5 * 2.0 * float(np.log(max(count, 2)))


def _opened_by_bounds(
    every: tuple[Reading, ...], stored: Array, hard: npt.NDArray[np.bool_], patient: npt.NDArray[np.object_],
    analyte: vocabulary.Analyte,
) -> list[_Opened]:  # fmt: skip
    """Readings that make impossible values possible: for those alone, and for whole series where they are many."""
    found = []
    low, high = bounds(analyte)
    for k, reading in enumerate(every[1:], start=1):
        value = reading.canonical(stored[hard])
        saved = (value >= low) & (value <= high) & (value > 0)
        if not saved.any():
            continue
        count = int(saved.sum())
        why = f"{count} of {hard.sum()} impossible values would be possible"
        found.append(_Opened(k, why, False))
        if len(np.unique(patient[hard][saved])) >= SYSTEMATIC_SERIES and count >= SYSTEMATIC_SHARE * len(stored):
            found.append(_Opened(k, why, True))
    return found


def _fit(work: _Work, log_prior: Array | None) -> hmm.Fit:
    rows = work.rows
    if log_prior is not None:
        rows = hmm.Rows(rows.values, rows.possible, rows.series, rows.gap, rows.places, rows.size,
                        rows.log_prior + log_prior, rows.jacobian, rows.single)  # fmt: skip
    return hmm.fit(rows, work.start)


def _row_features(table: pd.DataFrame, features: pd.DataFrame | None) -> dict[str, pd.Series]:
    """Text that may go with a reading, by patient: batch (where a patient has one), site, delivery."""
    found = {}
    if table["batch"].notna().any():
        batch = table.groupby("patient_id", sort=True)["batch"].agg(["first", "nunique"])
        found["batch"] = batch["first"].where(batch["nunique"] == 1)
    if features is not None:
        found |= {name: features[name] for name in features}
    return {name: values for name, values in found.items() if values.dropna().nunique() > 1}


def _series_weights(work: _Work, fit: hmm.Fit) -> Array:
    """Mean posterior of the readings over each series' rows, (number of series, S)."""
    states = fit.posterior[:, :-1]
    total = np.stack([np.bincount(work.rows.series, states[:, s]) for s in range(states.shape[1])], axis=1)
    return total / np.maximum(total.sum(axis=1, keepdims=True), 1e-12)


def _patients_of(work: _Work, patients: pd.Series) -> npt.NDArray[np.object_]:
    _, first = np.unique(work.rows.series, return_index=True)
    return patients.to_numpy(dtype=object)[work.index[first]]


def _links(
    work: _Work, prepared: list[_Work], fits: dict[str, hmm.Fit], patients: pd.Series, extra: dict[str, pd.Series]
) -> list[npt.NDArray[np.object_]]:
    """Labels of this analyte's series: readings of the patient's other analytes, batch, site, delivery."""
    if len(work.readings) == 1:
        return []
    mine = _patients_of(work, patients)
    labels = []
    for other in prepared:
        if other.name == work.name or len(other.readings) == 1:
            continue
        weight = _series_weights(other, fits[other.name])
        known = pd.Series(weight.argmax(axis=1), index=_patients_of(other, patients)).where(weight.max(axis=1) > 0.9)
        if known.dropna().nunique() > 1:
            labels.append(known.reindex(mine).to_numpy(dtype=object))
    labels.extend(series.reindex(mine).to_numpy(dtype=object) for series in extra.values())
    return labels


def _log_prior(work: _Work, fit: hmm.Fit, labels: list[npt.NDArray[np.object_]]) -> Array:
    """What the most telling label adds to each series' log weights, capped at :data:`LINK_CAP`.

    The label with the highest mutual information with the readings is used alone: labels repeat each other.
    """
    weight = _series_weights(work, fit)
    overall = weight.mean(axis=0)
    best, gain = np.zeros_like(weight), 0.0
    for label in labels:
        known = pd.notna(label)
        codes, _ = pd.factorize(label[known])
        if not len(codes):
            continue
        table = np.stack([np.bincount(codes, weight[known][:, s]) for s in range(weight.shape[1])], axis=1)
        share = (table + LINK_SERIES * overall) / (table.sum(axis=1, keepdims=True) + LINK_SERIES)
        ratio = np.log(np.maximum(share, 1e-9)) - np.log(np.maximum(overall, 1e-9))
        information = float((table * ratio).sum()) / len(weight)
        if information > gain:
            gain = information
            best = np.zeros_like(weight)
            best[known] = np.clip(ratio[codes], -LINK_CAP, LINK_CAP)
    return best
