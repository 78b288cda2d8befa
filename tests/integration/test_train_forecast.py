"""The faces of forecasting, end to end: train, forecast, seal, validate, compare, and what they refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from forecast_cohorts import simulated
from icans.cli.app import app
from icans.cohort.folder import write_folder
from icans.forecast.forecast import read_forecasts

HOME = "landmarks_d = [2, 4]\nhorizons_d = [5]\nby_day_30 = false\nfolds = 3"


def study(folder: Path, name: str, n: int, seed: int, **options: float) -> str:
    """A cohort on disk and the study file that names it."""
    write_folder(simulated(n, seed, **options), folder / name)  # type: ignore[arg-type]
    text = f'[study]\nname = "{name}"\n[cohort]\npath = "{name}"\n[forecast]\n{HOME}\n'
    (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return str(folder / f"{name}.toml")


def call(*words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--quiet"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hospitals' cohorts, and models trained on the first."""
    folder = tmp_path_factory.mktemp("faces")
    here = study(folder, "here", 90, 1)
    study(folder, "there", 70, 2)
    for model in ("cox_last", "prevalence"):
        done = call("train", here, "--model", model, "-o", str(folder / f"{model}.icans"), "--refits", "3", "-w", "1")
        assert done.exit_code == 0, done.output
    return folder


def test_a_model_file_says_how_it_was_validated(place: Path) -> None:
    from icans.forecast.model_file import read_model

    card = read_model(place / "cox_last.icans").card
    assert {row["model"] for row in card["validation"]} == {"cox_last", "prevalence"}
    assert not card["audit"]["declined"]


def test_forecasts_with_page_reasons_and_seal(place: Path) -> None:
    there, out, registry = str(place / "there.toml"), place / "out", place / "registry"
    ids = pd.read_csv(next((place / "there").glob("patients.*")))["patient_id"].tolist()[:8]
    asked = [word for p in ids for word in ("--patient", p)]
    done = call("forecast", str(place / "cox_last.icans"), there, "--at", "3", "-o", str(out), "--seal", str(registry),
                *asked)  # fmt: skip
    assert done.exit_code == 0, done.output
    made = read_forecasts(out / "forecasts.json")
    assert made == read_forecasts(out / "forecasts.parquet")
    assert all(f.low <= f.high and f.data_cutoff_h == 72.0 and f.synthetic for f in made)
    page = (out / "forecasts.html").read_text(encoding="utf-8")
    assert "SYNTHETIC" in page
    assert "Research use only" in page
    assert re.search(r"Patient p\d+ until day 3", page)
    scored = call("registry", str(registry), "--outcomes", there, "--json")
    assert json.loads(scored.stdout)["ok"]
    sealed = next(registry.glob("*.json"))
    sealed.write_text(sealed.read_text(encoding="utf-8").replace('"risk": 0.', '"risk": 0.9'), encoding="utf-8")
    assert call("registry", str(registry)).exit_code == 2


def test_validation_and_comparison(place: Path) -> None:
    there, files = str(place / "there.toml"), [str(place / f"{m}.icans") for m in ("prevalence", "cox_last")]
    done = call("compare", there, *files, "-o", str(place / "compared"), "--bootstrap", "50", "-w", "1")
    assert done.exit_code == 0, done.output
    table = pd.read_parquet(place / "compared" / "tables" / "comparisons.parquet")
    assert set(table["reference_model"]) == {"prevalence"}
    gain = table[(table["metric"] == "auc") & (table["model"] == "cox_last")]["difference"]
    assert (gain > 0.05).all()  # the simulated trait is learnable
    page = (place / "compared" / "validation.html").read_text(encoding="utf-8")
    assert "Does it need recalibration?" in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "{small}"), "Recalibrate an existing model"),
        (("train", "{here}", "--model", "oracle"), "there is no model 'oracle'"),
        (("train", "{here}", "--task", "fever"), "one of icans_any"),
        (("forecast", "{model}", "{there}", "--at", "-1"), "before the infusion"),
        (("forecast", "{model}", "{there}", "--patient", "nobody"), "nobody"),
        (("forecast", "{there}", "{there}"), "model file"),
        (("validate", "{model}", "{small}", "-o", "{out}"), "can be judged"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(words: tuple[str, ...], said: str, place: Path) -> None:
    small = place / "small.toml"
    names = {
        "small": str(small) if small.exists() else study(place, "small", 12, 5), "here": str(place / "here.toml"),
        "there": str(place / "there.toml"), "model": str(place / "cox_last.icans"), "out": str(place / "none"),
    }  # fmt: skip
    done = call(*(word.format(**names) for word in words))
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output


def test_the_models_are_listed() -> None:
    done = CliRunner().invoke(app, ["models", "--json"])
    assert {"cox_last", "hybrid", "forest"} <= set(json.loads(done.stdout)["models"])


def test_every_name_of_the_catalogue_is_a_model() -> None:
    from icans.forecast.catalogue import model_names, recipe

    assert all(recipe(name).name == name for name in model_names())
    with pytest.raises(KeyError, match="there is no model"):
        recipe("oracle")
