"""The commands on strategies: lists, words, refusals with lines, a small comparison and its page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from icans.cli.app import app
from icans.core.errors import ConfigError
from icans.study.strategies_config import parse_comparison, read_comparison

EXAMPLE = Path(__file__).parents[2] / "examples" / "strategies_anakinra.toml"
SMALL = """
[comparison]
name = "small"
reference = "present"
strategies = ["never", "mine"]
[[groups]]
patients = 8
[mine]
source = "test"
hypothetical = true
rules = [{ icans = 1, give = [{ drug = "dexamethasone", amount = 10, unit = "mg" }] }]
"""


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["strategies", *arguments])
    return result.exit_code, result.output


def test_lists_and_words() -> None:
    code, text = run("--list")
    assert code == 0
    assert "anakinra_prophylaxis" in text
    code, text = run("--describe", "rimiducid_at_grade_4")
    assert code == 0
    assert "RIMIDUCID (ICASP9 SWITCH) AT ICANS OF GRADE 4 (HYPOTHETICAL)" in text
    assert "needs cells that carry iCasp9" in text


def test_the_example_reads() -> None:
    made = read_comparison(EXAMPLE)
    assert made.patients == 800
    assert made.latency["strategy"].name == "anakinra_upon_il6"
    code, text = run(str(EXAMPLE), "--check")
    assert code == 0
    assert "an available ferritin at or above 600 ng/mL" in text


def test_refusals_come_with_lines() -> None:
    text = SMALL.replace('"never", "mine"', '"nevr", "mine"').replace("patients = 8", 'product = "axi"\npatients = 1')
    text = text.replace("icans = 1,", "icans = 9,") + "[sensitivity]\nstrategies = []\nfactor = 0.5\nmore = 1\n"
    text += '[decision]\ntreat = "mine"\nresults = ["NEURO"]\n[latency]\nhours = [-1]\n'
    with pytest.raises(ConfigError) as caught:
        parse_comparison(text, "small.toml")
    told = str(caught.value)
    expected = (
        "row 5", "Did you mean 'never'", "Did you mean 'axi-cel'", "from 2 to", "row 12", "can never act",
        "a factor above 1", "'sensitivity, more'", "'NEURO'", "hours from 0 to 240", "'latency, strategy'",
    )  # fmt: skip
    for words in expected:
        assert words in told, words
    with pytest.raises(ConfigError, match="a table \\[comparison\\]"):
        parse_comparison("[mine]\nsource = 'x'\n")
    wrong = SMALL.replace('source = "test"', 'source = "test"\nproducts = ["tisa-cel"]')
    with pytest.raises(ConfigError, match="one of tisa-cel"):
        parse_comparison(wrong)


def test_a_comparison_writes_its_page(tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    file.write_text(SMALL)
    code, text = run(str(file), "-o", str(tmp_path / "out"), "-w", "1", "--json", "-q")
    assert code == 0, text
    told = json.loads(text)
    assert told["synthetic"]
    assert told["strategies"]["mine"] == "mine (hypothetical)"
    assert {p["strategy"] for p in told["pareto"]} == {"present", "never", "mine"}
    page = (tmp_path / "out" / "strategies.html").read_text()
    assert "HYPOTHETICAL: no patient has been treated so" in page
    assert "SYNTHETIC DATA" in page
    assert (tmp_path / "out" / "tables" / "outcomes.parquet").is_file()
    code, text = run(str(file), "-o", str(tmp_path / "out"))
    assert code != 0
    assert "overwrite" in text
