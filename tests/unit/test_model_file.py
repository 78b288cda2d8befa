"""Model files: the same forecasts after a journey through a file; whatever is not a whole model is refused."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from forecast_cohorts import simulated
from icans.core.errors import DataError, NotEstimableError
from icans.forecast.crossval import Design
from icans.forecast.final import FinalModel, fit_final
from icans.forecast.ladder import Rung, ladder
from icans.forecast.model_file import model_digest, read_model, with_card, write_model
from icans.forecast.outcomes import TASKS, Horizon
from icans.forecast.worth import worth_of_missing

COHORT = simulated(60, seed=1)
DESIGN = Design(landmarks_h=(48.0, 96.0), horizons=(Horizon(72.0), Horizon(168.0)))


def trained(name: str, refits: int = 2) -> FinalModel:
    (rung,) = ladder(names=[name])
    return with_card(fit_final(COHORT, TASKS["icans_any"], rung, DESIGN, refits=refits), {"label": "any"})


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.icans"
    write_model(trained("cox_last"), path)
    return path


@pytest.mark.parametrize("name", ["prevalence", "crs_rule", "logistic_last", "cox_supermodel", "boosting"])
def test_the_same_forecasts_after_a_journey_through_a_file(name: str, tmp_path: Path) -> None:
    model = trained(name)
    digest = write_model(model, tmp_path / "m.icans")
    again = read_model(tmp_path / "m.icans")
    assert again.forecast(COHORT, 72.0)[0] == model.forecast(COHORT, 72.0)[0]
    assert (again.digest, again.card, again.envelope) == (digest, model.card, model.envelope)
    assert write_model(again, tmp_path / "n.icans") == digest  # and the same bytes
    assert (tmp_path / "n.icans").read_bytes() == (tmp_path / "m.icans").read_bytes()


def changed(file: Path, target: Path, **members: bytes) -> Path:
    """A copy of a model file with some members changed."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(target, "w") as new:
        for item in old.namelist():
            new.writestr(item, members.get(item.replace(".", "_"), old.read(item)))
    return target


def test_a_changed_file_is_refused(file: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        text = archive.read("model.json").replace(b'"any"', b'"all"')
    with pytest.raises(DataError, match="does not fit its digest"):
        read_model(changed(file, tmp_path / "m.icans", model_json=text))


def test_a_file_of_another_version_says_which(file: Path, tmp_path: Path) -> None:
    values = json.loads(zipfile.ZipFile(file).read("model.json")) | {"format": "icans-model/9", "program": "9.1"}
    text = json.dumps(values).encode()
    forged = changed(file, tmp_path / "a.icans", model_json=text)
    # with a digest that fits: the layout is asked about after the digest
    from icans.forecast.model_file import _digest, _members

    digest = _digest(text, _members(zipfile.ZipFile(file).read("arrays.npz"))).encode()
    forged = changed(forged, tmp_path / "b.icans", digest_txt=digest)
    with pytest.raises(DataError, match=r"icans-model/9.*9\.1"):
        read_model(forged)


def forged(file: Path, target: Path, values: Mapping[str, object], arrays: Mapping[str, np.ndarray]) -> Path:
    """A file of other contents, with a digest that fits."""
    from icans.forecast.model_file import _digest

    buffer, text = io.BytesIO(), json.dumps(values).encode()
    np.savez(buffer, **arrays)
    members = {"model_json": text, "arrays_npz": buffer.getvalue(), "digest_txt": _digest(text, arrays).encode()}
    return changed(file, target, **members)


def test_the_layout_of_before_can_still_be_read(tmp_path: Path) -> None:
    from icans.forecast.model_file import _apart, _opened

    model = trained("boosting", refits=1)
    write_model(model, tmp_path / "m.icans")
    values, rows, _ = _opened(tmp_path / "m.icans")
    told = values.pop("arrays")
    assert len(told) > len(rows)
    old = forged(tmp_path / "m.icans", tmp_path / "o.icans", values | {"format": "icans-model/1"}, _apart(told, rows))
    assert read_model(old).forecast(COHORT, 72.0)[0] == model.forecast(COHORT, 72.0)[0]


@pytest.mark.parametrize("change", ["more", "fewer", "type", "shape"])
def test_a_list_of_arrays_that_does_not_fit_the_numbers_is_refused(change: str, file: Path, tmp_path: Path) -> None:
    from icans.forecast.model_file import _opened

    values, rows, _ = _opened(file)
    told = values["arrays"]
    told = {
        "more": [*told, ["x", "<f8", [2]]], "fewer": told[:-1], "type": [[told[0][0], "<c16", told[0][2]], *told[1:]],
        "shape": [[told[0][0], told[0][1], [-1]], *told[1:]],
    }[change]  # fmt: skip
    with pytest.raises(DataError, match="a whole model"):
        read_model(forged(file, tmp_path / "f.icans", values | {"arrays": told}, rows))


class Boom:
    """Would run code when unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("a pickle was loaded",))


def test_arrays_of_objects_are_never_unpickled(file: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, bad=np.array([Boom()], dtype=object))
    with pytest.raises(DataError):
        read_model(changed(file, tmp_path / "m.icans", arrays_npz=buffer.getvalue()))


@pytest.mark.parametrize("content", [b"", b"no archive", pickle.dumps({"a": 1}), b"PK\x03\x04 half an archive"])
def test_what_is_no_model_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.icans"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"m\.icans"):
        read_model(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        model_digest(tmp_path / "none.icans")


def test_a_model_that_was_read_is_not_fitted_again(file: Path) -> None:
    model = read_model(file)
    with pytest.raises(TypeError, match="train a new one"):
        model.rung.model.fit(None, None, ())  # type: ignore[arg-type]


def test_a_model_that_cannot_be_stored_is_named_before_anything_is_written(tmp_path: Path) -> None:
    class Odd:
        parameters = 1

        def fit(self, *_: object) -> Odd:
            return self

        def predict(self, table: object, horizon: object) -> np.ndarray:
            return np.full(len(table), 0.5)  # type: ignore[arg-type]

        def settings(self) -> dict[str, float]:
            return {}

    model = fit_final(COHORT, TASKS["icans_any"], Rung("odd", "", Odd()), DESIGN, refits=0)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="cannot be saved"):
        write_model(model, tmp_path / "m.icans")
    assert not (tmp_path / "m.icans").exists()


def test_before_the_infusion_and_after_the_end_there_is_no_forecast(file: Path) -> None:
    model = read_model(file)
    with pytest.raises(NotEstimableError, match="before the infusion"):
        model.forecast(COHORT, -24.0)


def test_units_other_than_those_of_training_are_refused(file: Path) -> None:
    rows = COHORT.measurements
    name = str(rows["analyte"].iloc[0])
    other = COHORT.with_table("measurements", rows.assign(unit=rows["unit"].where(rows["analyte"] != name, "g/L")))
    with pytest.raises(DataError, match=name):
        read_model(file).forecast(other, 72.0)


def test_a_missing_input_is_worth_what_it_moves(file: Path) -> None:
    model = read_model(file)
    patient = model.forecast(COHORT, 96.0)[0][0].patient_id
    rows = COHORT.measurements
    name = model.used(model.inputs_of(COHORT, [patient], 96.0).table)
    analyte = next(n.split(".")[1] for n in name if n.startswith("lab.") and n.endswith(".last"))
    gone = COHORT.with_table("measurements", rows[(rows["patient_id"] != patient) | (rows["analyte"] != analyte)])
    table = worth_of_missing(model, gone, patient, 96.0, Horizon(168.0))
    mine = table.set_index("input").loc[f"lab.{analyte}"]
    columns = [n for n in name if n.startswith(f"lab.{analyte}.")]
    inputs = model.inputs_of(gone, [patient], 96.0)
    for place, risk in ((2, mine["risk_low"]), (4, mine["risk_high"])):
        row = inputs.table.assign(**{n: model.envelope.quantiles[n][place] for n in columns})
        assert model.fitted.predict(row, Horizon(168.0))[0] == pytest.approx(risk)
