"""icans fit: from a file to a results folder; what is wrong with a file is told at once."""

import json
import re
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from icans.cli.app import app
from icans.core.errors import ConfigError
from icans.population.fit.result import read_fit
from icans.study.fit import run_fit
from icans.study.fit_build import make_model
from icans.study.fit_config import make_fit_config, read_fit_config

EXAMPLE = Path(__file__).parents[2] / "examples" / "fit_synthetic_oral.toml"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    config = read_fit_config(EXAMPLE)
    quick = {"vpc_replicates": 40, "npde_replicates": 60, "method": "focei"}
    config = config.model_copy(update={"fit": config.fit.model_copy(update=quick)})
    folder = tmp_path_factory.mktemp("fit") / "results"
    return run_fit(config, output=folder, folder_of_file=EXAMPLE.parent), config


def test_the_truth_of_the_synthetic_example_is_found(results):
    table = results[0].fit.table().set_index("name")
    for name, truth in {"CL": 2.0, "V": 20.0, "ka": 1.0, "WT on CL": 0.75, "cp b": 0.1, "corr omega CL,V": 0.5}.items():
        assert table.loc[name, "low95"] - 0.05 < truth < table.loc[name, "high95"] + 0.05, name


def test_the_folder_holds_page_tables_fit_and_what_is_needed_to_do_it_again(results):
    done, config = results
    page = done.page.read_text(encoding="utf-8")
    assert "SYNTHETIC DATA" in page
    assert "Research use only" in page or "RESEARCH USE ONLY" in page.upper()
    assert not re.search(r"(src|href)=\"https?://", page)
    for title in ("Estimates", "Goodness of fit", "Visual predictive checks", "Random effects", "Shrinkage"):
        assert title in page
    run = json.loads((done.folder / "run.json").read_text())
    assert run["synthetic"] is True
    assert run["inputs"].keys() == {"synthetic_oral.csv"}
    for name, digest in run["outputs"].items():
        assert (done.folder / name).is_file()
        assert len(digest) == 64
    tables = {p.stem for p in (done.folder / "tables").iterdir()}
    assert {"estimates", "predictions", "vpc_cp", "npde", "shrinkage", "random_effects", "influence"} <= tables
    assert pd.read_parquet(done.folder / "tables" / "predictions.parquet")["synthetic"].all()
    again = read_fit(done.folder / "fit.json", make_model(config))
    pd.testing.assert_frame_equal(again.table(), done.fit.table())
    assert again.data_digest == done.fit.data_digest


def test_an_earlier_folder_is_not_replaced_unasked(results):
    done, config = results
    with pytest.raises(FileExistsError):
        run_fit(config, output=done.folder, folder_of_file=EXAMPLE.parent)


def test_all_problems_of_a_file_are_told_at_once():
    raw = tomllib.loads(EXAMPLE.read_text())
    raw["fit"]["method"] = "samm"
    raw["data"]["cohort"] = "both"
    raw["parameter"][0]["scale"] = "cube"
    raw["parameter"][1]["valu"] = 3.0
    raw["observable"][0]["error"] = "relative"
    with pytest.raises(ConfigError) as caught:
        make_fit_config(raw, "my.toml")
    text = str(caught.value)
    for word in (
        "fit.method",
        "saem",
        "exactly one of nonmem and cohort",
        "parameter.1.scale",
        "'value'",
        "observable.1.error",
    ):
        assert word in text, word
    assert all(p.file == "my.toml" for p in caught.value.problems)


def test_unknown_settings_of_an_estimator_are_named(tmp_path):
    config = read_fit_config(EXAMPLE)
    config = config.model_copy(update={"fit": config.fit.model_copy(update={"settings": {"chians": 3}})})
    with pytest.raises(ConfigError, match="chains"):
        run_fit(config, output=tmp_path / "r", folder_of_file=EXAMPLE.parent)
    assert not (tmp_path / "r").exists()


def test_the_command_answers_errors_with_a_code(tmp_path):
    bad = tmp_path / "bad.toml"
    bad.write_text("[fit]\nmethod = 3\n")
    answer = CliRunner().invoke(app, ["fit", str(bad), "--json"])
    assert answer.exit_code != 0
    assert "parameter" in answer.output


def test_the_patient_model_can_be_declared_in_a_file():
    raw = {
        "data": {"cohort": "cd22_car_hlh", "analytes": ["il_6"], "cells": 1e8},
        "model": {"kind": "patient", "links": {"speed": {"car_priming": 1.0, "car_activation": 1.0}}},
        "parameter": [{"name": "il6_mye", "iiv": 1.0}, {"name": "speed", "value": 1.0, "iiv": 0.3}],
        "observable": [{"name": "IL6", "output": "IL6", "error": "lognormal", "a": 0.5}],
    }  # fmt: skip
    model = make_model(make_fit_config(raw))
    assert model.parameters[0].value == pytest.approx(510.0, rel=10.0)
    assert model.parameters[0].unit == "pg/(mL.h)"
