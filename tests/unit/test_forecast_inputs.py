"""Inputs of models: the stream of events cut at each row's time, choice of groups, blocks fitted inside folds."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest

from forecast_cohorts import simulated
from icans.cohort.cohort import Cohort
from icans.forecast.blocks import with_blocks
from icans.forecast.crossval import Design, cross_validate
from icans.forecast.dataset import examples
from icans.forecast.final import fit_final
from icans.forecast.inputs import Inputs, history
from icans.forecast.ladder import Rung
from icans.forecast.models.logistic import LastValueLogistic
from icans.forecast.outcomes import TASKS, Horizon

COHORT = simulated(60, seed=3)
TASK = TASKS["icans_any"]
LANDMARKS = (48.0, 120.0)
DATA = examples(COHORT, TASK, LANDMARKS, stream=True)
DESIGN = Design(landmarks_h=(72.0,), horizons=(Horizon(120.0),), folds=3, repeats=1, min_events=3)


def test_events_of_a_row_are_the_rows_of_the_tables_known_by_then() -> None:
    events = DATA.inputs.events()
    frame = COHORT.measurements
    for row in (0, 7, len(DATA.inputs) - 1):
        patient, landmark = DATA.table.index[row]
        mine = slice(events.start[row], events.start[row + 1])
        names = [events.channels[k] for k in events.channel[mine]]
        labs = [name.startswith("lab.") for name in names]
        available = frame["available_h"].fillna(frame["time_h"])
        expected = frame[(frame["patient_id"] == patient) & (available <= landmark) & frame["value"].notna()]
        assert sorted(events.value[mine][labs]) == pytest.approx(sorted(expected["value"]))
        assert events.before_h[mine] == pytest.approx(landmark - events.time_h[mine])
        assert (np.diff(events.time_h[mine]) >= 0).all()


def test_the_newest_event_of_a_channel_is_the_feature_last() -> None:
    events = DATA.inputs.events()
    channel = next(name for name in events.channels if name.startswith("lab."))
    k = events.channels.index(channel)
    for row in range(0, len(DATA.inputs), 11):
        mine = slice(events.start[row], events.start[row + 1])
        values = events.value[mine][events.channel[mine] == k]
        feature = DATA.table[f"{channel}.last"].iloc[row]
        assert (len(values) == 0 and np.isnan(feature)) or values[-1] == pytest.approx(feature)


def test_rows_chosen_twice_bring_their_events_twice() -> None:
    twice = DATA.inputs[np.array([5, 5, 2])]
    events, before = twice.events(), DATA.inputs.events()
    lengths, old = np.diff(events.start), np.diff(before.start)
    assert lengths.tolist() == [old[5], old[5], old[2]]


def test_groups_choose_columns_and_channels() -> None:
    some = DATA.inputs.only(("grade", "static"))
    assert {name.split(".", 1)[0] for name in some.table.columns} == {"day", "grade", "static"}
    assert some.history is not None
    assert {name.split(".", 1)[0] for name in some.history.channels} == {"grade"}
    assert len(some.events().value) < len(DATA.inputs.events().value)


def test_a_table_alone_has_no_events() -> None:
    with pytest.raises(ValueError, match="history=True"):
        Inputs.of(DATA.table).events()


def test_stream_of_events_is_sorted_and_complete() -> None:
    stream = history(COHORT)
    frame = stream.frame()
    assert len(frame) == len(stream)
    assert frame["available_h"].notna().all()
    assert (np.diff(stream.patient) >= 0).all()


@dataclass(frozen=True)
class _Recorder:
    """A block that writes down whom it was fitted on and adds the mean of the training patients' ages."""

    seen: list[frozenset[str]] = field(default_factory=list)

    def fit(self, cohort: Cohort, seed: int) -> _Recorded:
        self.seen.append(frozenset(cohort.patient_ids))
        return _Recorded(float(cohort.patients["age_y"].mean()))


@dataclass(frozen=True)
class _Recorded:
    mean_age_y: float
    name: str = "mech"

    def columns(self, cohort: Cohort, plan: pd.DataFrame, at_h: np.ndarray) -> pd.DataFrame:
        age = plan["patient_id"].map(cohort.patients.set_index("patient_id")["age_y"])
        return pd.DataFrame({"mech.age_above_mean": age.to_numpy(dtype=float) - self.mean_age_y})


def test_blocks_never_see_a_held_out_patient() -> None:
    block = _Recorder()
    rung = Rung("mech_only", "", LastValueLogistic(inner_folds=2, columns=list), groups=("mech",))
    result = cross_validate(COHORT, TASK, [rung], DESIGN, blocks=[block])
    held_out = result.folds.groupby("fold")["patient_id"].agg(set)
    assert len(block.seen) == len(held_out)
    for training, testing in zip(block.seen, held_out, strict=True):
        assert not training & testing


def test_final_model_makes_the_columns_of_its_blocks() -> None:
    rung = Rung("mech_only", "", LastValueLogistic(inner_folds=2, columns=list), groups=("mech",))
    model = fit_final(COHORT, TASK, rung, DESIGN, blocks=[_Recorder()], refits=0)
    made, _ = model.forecast(COHORT, 72.0)
    assert {reason.feature for forecast in made for reason in forecast.reasons} <= {"day", "mech.age_above_mean"}


def test_a_block_with_strange_columns_is_refused() -> None:
    class Strange(_Recorded):
        def columns(self, cohort: Cohort, plan: pd.DataFrame, at_h: np.ndarray) -> pd.DataFrame:
            return pd.DataFrame({"lab.crp.last": np.zeros(len(plan))})

    with pytest.raises(ValueError, match=r"lab\.crp"):
        with_blocks(DATA.table, DATA.inputs.at_h, COHORT, [Strange(0.0)])
