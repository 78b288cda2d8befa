"""From trajectories to what is told: grades, outcomes of every patient, incidences with intervals, bands, peaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.random import stream
from icans.population.observe import Graded, grade
from icans.population.readings import reading_errors
from icans.report import format as fmt
from icans.report import quantities as words
from icans.report.figures.courses import BANDS

if TYPE_CHECKING:
    from icans.mechanism.doses import Trigger
    from icans.mechanism.trajectory import Trajectory
    from icans.population.quantities import Readings
    from icans.study.simulate_config import Scenario

Array = npt.NDArray[np.float64]
Series = npt.NDArray[np.float32] | npt.NDArray[np.float64]

#: Levels of :data:`BANDS`.
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
#: Least grades that are counted, and what they are called.
OUTCOMES = (("ICANS", 1, "ICANS, any grade"), ("ICANS", 3, "ICANS, grade 3+"),
            ("CRS", 1, "CRS, any grade"), ("CRS", 3, "CRS, grade 3+"))  # fmt: skip
#: Latent severity behind each toxicity, and its name in the tables of schemes.
LATENT = {"ICANS": ("encephalopathy", "nt"), "CRS": ("crs_severity", "crs")}
RESAMPLES = 2000
DEATH = 5
#: Patients with ICANS below which the barrier map is about everybody.
FEW_CASES = 5
Z95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class ArmRun:
    """Trajectories of one arm.

    ``series``: quantity -> shape (n, T); ``ok``: patients that were integrated; ``ids``: their numbers in the virtual
    population; ``readings``: cuts of the severities; ``given``: what triggers gave (patient, time_h, duration_h, drug,
    amount, unit, reason).
    """

    name: str
    ids: npt.NDArray[np.int64]
    readings: Readings
    times_h: Array
    series: Mapping[str, Series]
    ok: npt.NDArray[np.bool_]
    failures: pd.DataFrame
    given: pd.DataFrame

    @property
    def days(self) -> Array:
        """Times in days."""
        return self.times_h / 24.0


def kept(runs: Sequence[ArmRun]) -> npt.NDArray[np.bool_]:
    """Patients integrated in every arm: comparisons are paired."""
    return np.logical_and.reduce([run.ok for run in runs])


def graded(run: ArmRun, scenario: Scenario) -> dict[str, Graded]:
    """Reported ICANS and CRS of every patient under the scenario's schemes.

    A typical patient is read without error and without stray events.
    """
    seen = run.readings
    noise, stray, _ = reading_errors(int(run.ids.max()), scenario.simulation.seed)
    stray = {name: values[run.ids - 1] for name, values in stray.items()}
    exact = scenario.patients.is_typical
    zero = np.zeros(len(run.ids))
    found = {}
    for toxicity, (latent, kind) in LATENT.items():
        schemes = seen.nt if kind == "nt" else seen.crs
        name = scenario.simulation.icans_scheme if kind == "nt" else scenario.simulation.crs_scheme
        extra = None if exact or kind == "crs" else stray
        severity = np.nan_to_num(run.series[latent].astype(float))
        found[toxicity] = grade(run.days, severity, schemes[name], zero if exact else noise[kind][run.ids - 1], extra)
    return found


def daily(run: ArmRun, scenario: Scenario, patient: int) -> pd.DataFrame:
    """Worst grade of each day of one patient, read off the latent severity (no stray events): toxicity, day, grade.

    A day of grade 5 is the last.
    """
    seen = run.readings
    noise, _, _ = reading_errors(int(run.ids.max()), scenario.simulation.seed)
    day = np.floor(run.days + 1e-9).astype(int)
    rows = []
    for toxicity, (latent, kind) in LATENT.items():
        schemes = seen.nt if kind == "nt" else seen.crs
        name = scenario.simulation.icans_scheme if kind == "nt" else scenario.simulation.crs_scheme
        factor = 1.0 if scenario.patients.is_typical else float(np.exp(noise[kind][run.ids[patient] - 1]))
        at = np.searchsorted(schemes[name].cuts, run.series[latent][patient] * factor, side="right")
        worst = pd.Series(at).groupby(day).max()
        last = int(np.ceil(run.days[-1])) - 1  # the last time ends the last day; it does not begin another
        rows += [(toxicity, int(d), float(g)) for d, g in worst.items() if d <= max(last, 0)]
    deaths = [day for _, day, value in rows if value >= DEATH]
    if deaths:  # nobody is graded after death
        rows = [row for row in rows if row[1] <= min(deaths)]
    return pd.DataFrame(rows, columns=["toxicity", "day", "grade"])


def outcomes(run: ArmRun, scenario: Scenario) -> pd.DataFrame:
    """One row per patient: grades with their days, and peaks of the quantities shown."""
    frame = pd.DataFrame({"arm": run.name, "patient": run.ids, "integrated": run.ok})
    for toxicity, found in graded(run, scenario).items():
        key = toxicity.lower()
        frame[f"{key}_grade"] = found.grade
        frame[f"{key}_onset_day"] = found.onset_day
        frame[f"{key}_peak_day"] = np.floor(found.peak)
        frame[f"{key}_duration_days"] = found.duration_days
    for name in words.BY_NAME:
        if name in run.series:
            values = np.where(run.ok[:, None], run.series[name].astype(float), np.inf if name in LOWEST else -np.inf)
            pick = values.argmin(axis=1) if name in LOWEST else values.argmax(axis=1)
            frame[f"{name}_peak"] = values[np.arange(len(values)), pick]
            frame[f"{name}_peak_day"] = run.days[pick]
    return frame[frame["integrated"]].drop(columns="integrated").reset_index(drop=True)


#: Quantities whose extreme is their lowest value.
LOWEST = frozenset({"ice_expected", "ANG1", "PLT"})


def wilson(events: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927, doi 10.1080/01621459.1927.10502953)."""
    if n == 0:
        return float("nan"), float("nan")
    p, z2 = events / n, Z95**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * np.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def incidence(table: pd.DataFrame) -> pd.DataFrame:
    """Share of patients with each outcome of :data:`OUTCOMES` by arm, with Wilson intervals."""
    rows = []
    for arm, one in table.groupby("arm", sort=False):
        for toxicity, least, label in OUTCOMES:
            hit = int((one[f"{toxicity.lower()}_grade"] >= least).sum())
            rows.append((arm, label, hit / len(one), *wilson(hit, len(one)), hit, len(one)))
    return pd.DataFrame(rows, columns=["arm", "label", "value", "low", "high", "events", "n"])


def differences(table: pd.DataFrame, arms: Sequence[str], seed: int) -> pd.DataFrame:
    """Paired differences of incidence against the first arm, intervals from resampling patients."""
    first = table[table["arm"] == arms[0]].set_index("patient")
    rows = []
    for arm in arms[1:]:
        other = table[table["arm"] == arm].set_index("patient").loc[first.index]
        for toxicity, least, label in OUTCOMES:
            column = f"{toxicity.lower()}_grade"
            gap = (other[column] >= least).to_numpy(float) - (first[column] >= least).to_numpy(float)
            random = stream(seed, "simulate difference", arm, label)
            # the mean of a resample depends on how many -1, 0 and 1 it has: a multinomial draw
            shares = [np.mean(gap == v) for v in (-1.0, 0.0, 1.0)]
            drawn = random.multinomial(len(gap), shares, size=RESAMPLES) @ np.array([-1.0, 0.0, 1.0]) / len(gap)
            low, high = np.quantile(drawn, [0.025, 0.975])
            rows.append((arm, label, float(gap.mean()), float(low), float(high)))
    return pd.DataFrame(rows, columns=["arm", "label", "value", "low", "high"])


def worst(table: pd.DataFrame) -> pd.DataFrame:
    """Share of patients by worst grade: arm, toxicity, grade, share."""
    rows = []
    for arm, one in table.groupby("arm", sort=False):
        for toxicity in LATENT:
            counts = one[f"{toxicity.lower()}_grade"].value_counts(normalize=True)
            rows += [(arm, toxicity, g, float(counts.get(g, 0.0))) for g in range(6)]
    return pd.DataFrame(rows, columns=["arm", "toxicity", "grade", "share"])


def bands(runs: Sequence[ArmRun], names: Sequence[str]) -> pd.DataFrame:
    """Median and bands of quantities over time; with one patient, the patient as the median."""
    both = kept(runs)
    parts = []
    for run in runs:
        for name in names:
            values = run.series[name][both].astype(float)
            if len(values) > 1:
                found = np.quantile(values, LEVELS, axis=0)
            else:
                found = np.full((len(LEVELS), len(run.times_h)), np.nan)
                found[2] = values[0] if len(values) else np.nan
            frame = pd.DataFrame(dict(zip(BANDS, found)))
            parts.append(frame.assign(arm=run.name, quantity=name, time_h=run.times_h))
    return pd.concat(parts, ignore_index=True)[["arm", "quantity", "time_h", *BANDS]]


def regional(runs: Sequence[ArmRun], chosen: npt.NDArray[np.bool_]) -> pd.DataFrame:
    """Median integrity of the barrier over the chosen patients, by region, arm and time."""
    parts = [
        pd.DataFrame({
            "arm": run.name, "region": name.removeprefix(words.BARRIER), "time_h": run.times_h,
            "value": np.median(run.series[name][chosen].astype(float), axis=0),
        })
        for run in runs for name in run.series if name.startswith(words.BARRIER)
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["arm", "region", "time_h", "value"])


def cases(runs: Sequence[ArmRun], table: pd.DataFrame) -> tuple[npt.NDArray[np.bool_], str]:
    """Patients with ICANS in the first arm, in words, too; everybody where they are fewer than :data:`FEW_CASES`."""
    both = kept(runs)
    first = table[(table["arm"] == runs[0].name) & (table["icans_grade"] >= 1)]
    mask = both & np.isin(runs[0].ids, first["patient"])
    if len(both) == 1 or mask.sum() < FEW_CASES:
        return both, "the virtual patients" if len(both) > 1 else "the one patient"
    where = f"in the arm “{runs[0].name}”" if len(runs) > 1 else ""
    return mask, f"the {int(mask.sum())} virtual patients who have ICANS {where}".rstrip()


def timing(table: pd.DataFrame) -> pd.DataFrame:
    """Onset and duration of each toxicity among those who have it, by arm: median and quartiles, for people."""
    rows = []
    for toxicity in LATENT:
        key = toxicity.lower()
        for arm, one in table.groupby("arm", sort=False):
            ill = one[(one[f"{key}_grade"] >= 1) & one[f"{key}_onset_day"].notna()]
            told = [
                _spread(ill[f"{key}_{what}"]) if len(ill) else fmt.NOTHING for what in ("onset_day", "duration_days")
            ]
            rows.append((toxicity, arm, len(ill), *told))
    return pd.DataFrame(rows, columns=["toxicity", "arm", "patients", "onset", "duration"])


def examples(table: pd.DataFrame, arm: str, count: int) -> list[int]:
    """Patients shown one by one: spread over those with severe ICANS in an arm (else any, else all), by severity."""
    one = table[table["arm"] == arm]
    severe, some = one[one["icans_grade"].between(3, DEATH - 1)], one[one["icans_grade"] >= 1]
    pool = next(frame for frame in (severe, some, one) if len(frame) >= min(count, len(one)) or frame is one)
    ordered = pool.sort_values(["encephalopathy_peak", "patient"])["patient"].tolist()
    places = [int((k + 0.5) / count * len(ordered)) for k in range(min(count, len(ordered)))]
    return [int(ordered[place]) for place in dict.fromkeys(places)]


def peaks(table: pd.DataFrame, units: Mapping[str, str]) -> pd.DataFrame:
    """Peaks by arm and quantity, for people."""
    rows = []
    for name in words.BY_NAME:
        if f"{name}_peak" not in table:
            continue
        for arm, one in table.groupby("arm", sort=False):
            rows.append((words.label(name, units), arm, _spread(one[f"{name}_peak"]), _spread(one[f"{name}_peak_day"])))
    return pd.DataFrame(rows, columns=["quantity", "arm", "peak", "day"])


def _spread(values: pd.Series) -> str:
    low, middle, high = np.quantile(values.to_numpy(float), [0.25, 0.5, 0.75])
    if len(values) == 1:
        return fmt.compact(middle)
    return f"{fmt.compact(middle)} ({fmt.compact(low)} to {fmt.compact(high)})"


def stacked(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Frames under one another; empty ones do not change the types of columns."""
    return pd.concat([f for f in frames if len(f)] or list(frames[:1]), ignore_index=True)


GIVEN = ["patient", "time_h", "duration_h", "drug", "amount", "unit", "reason"]


def given_by(found: Trajectory, triggers: Sequence[Trigger], ids: npt.NDArray[np.int64]) -> pd.DataFrame:
    """Every administration that triggers led to, by patient and time, up to the last simulated time."""
    by_label = {trigger.label: trigger for trigger in triggers}
    last = float(np.nanmax(found.times_h))
    rows = []
    for firing in found.fired:
        trigger = by_label[firing.label]
        for dose in trigger.doses:
            for time in dose.times() + firing.time_h + trigger.delay_h:
                if time <= last:
                    rows.append((int(ids[firing.patient - 1]), float(time), dose.duration_h, dose.drug, dose.amount,
                                 dose.unit, firing.label))  # fmt: skip
    frame = pd.DataFrame(rows, columns=GIVEN)
    return frame.sort_values(["patient", "time_h"], kind="stable").reset_index(drop=True)


def as_needed(runs: Sequence[ArmRun]) -> pd.DataFrame:
    """Share of patients who were given a drug as needed, by arm and drug, and the median day of the first time."""
    rows = []
    for run in runs:
        first = run.given.groupby(["drug", "patient"])["time_h"].min() if len(run.given) else pd.Series(dtype=float)
        for drug in dict.fromkeys(run.given["drug"]):
            days = first.loc[drug] / 24
            rows.append((run.name, drug, len(days) / len(run.ids), float(days.median())))
    return pd.DataFrame(rows, columns=["arm", "drug", "share", "first_day"])
