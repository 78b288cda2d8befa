"""The page: what must stand in it, what may not, and in which order."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pandas as pd
import pytest

from icans.cohort.cohort import make
from icans.core.errors import DataError
from icans.core.provenance import Provenance
from icans.report.model import Audit, Headline, ReportData, Task
from icans.report.page import ROW_LIMIT, Builder, verdict
from icans.report.render import SECTIONS, render, write_report
from icans.report.sections import focus, forecasts, glance
from icans.report.sections.individuals import sample
from report_cohorts import HORIZON_H, synthetic_cohort, synthetic_data, whole_page

NASTY = '<script>alert("x")</script>&$\\frac{1}{2}$'


class Page(HTMLParser):
    """Tags, ids and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def whole(once) -> str:
    return whole_page(once).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(whole) -> Page:
    return Page(whole)


def glance_html(data: ReportData) -> str:
    """The text of section 1 alone."""
    return render(data, only=["glance"])


def only_text(html: str) -> str:
    return Page(html).text


def test_the_sections_in_order_each_in_the_contents(page):
    names = [a["id"] for a in page.all("section")]
    assert names == [
        "glance", "patients", "quality", "missingness", "grades", "atlas", "forecasts", "mechanism", "audit",
        "individuals", "behaviour", "explanation", "recordings", "limits", "checklists", "run",
    ]  # fmt: skip
    links = [a["href"] for a in page.all("a") if (a["href"] or "").startswith("#") and a.get("class") != "skip"]
    assert links == [f"#{name}" for name in names]
    assert list(SECTIONS) == names


def test_headings_never_skip_a_level(page):
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))


def test_ids_are_unique(page):
    ids = [a["id"] for _, a in page.tags if a.get("id")]
    assert len(ids) == len(set(ids))


def test_nothing_is_fetched_and_the_policy_forbids_it(page, whole):
    for _, attrs in page.tags:
        for name in ("src", "href", "xlink:href", "data", "action", "poster"):
            value = attrs.get(name)
            assert value is None or value.startswith(("#", "data:")), (name, value)
    assert "@import" not in whole
    assert not re.search(r"url\((?!#)", whole)
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert "connect-src" not in policy


def test_every_figure_has_a_text_and_every_table_a_caption(page):
    figures = [a for a in page.all("svg")]
    assert len(figures) > 10
    assert all(a.get("role") == "img" and a.get("aria-label") for a in figures)
    assert len(page.all("table")) == len(page.all("caption"))


def test_synthetic_stands_in_banner_captions_and_figures(whole):
    html = whole
    assert "REAL PATIENT DATA" not in html
    captions = re.findall(r"<(?:caption|figcaption)>(.*?)</(?:caption|figcaption)>", html, flags=re.DOTALL)
    assert captions
    assert all("SYNTHETIC DATA" in c for c in captions)
    svgs = re.findall(r"<svg .*?</svg>", html, flags=re.DOTALL)
    assert all(">SYNTHETIC DATA<" in s for s in svgs)


def test_real_data_are_called_real_and_nothing_is_called_synthetic():
    html = render(synthetic_data(n=10, synthetic=False), only=["glance", "grades", "audit"])
    assert "REAL PATIENT DATA" in html
    assert "SYNTHETIC" not in html


def test_one_synthetic_part_makes_the_report_synthetic():
    real, made_up = synthetic_cohort(10, synthetic=False), synthetic_cohort(10)
    assert ReportData("x", delivered=real, harmonised=made_up).is_synthetic
    assert not ReportData("x", delivered=real, harmonised=real).is_synthetic


def test_headline_score_stands_beside_its_audit():
    text = only_text(glance_html(synthetic_data(True)))
    assert "Ridge landmark model reached AUROC" in text
    assert "Leakage audit" in text
    assert "tells (1 of 3 checks)" in text
    assert "The source alone says little" in text


def test_no_audit_no_score():
    data = replace(synthetic_data(), audit=None)
    text = only_text(glance_html(data))
    assert "AUROC" not in text
    assert "leakage audit was not run" in text
    assert "No leakage audit was run" in only_text(render(data, only=["audit"]))


def test_when_occurrence_cannot_be_validated_cases_only_results_lead():
    data = synthetic_data(False, n=12)
    text = only_text(glance_html(data))
    assert "The occurrence of ICANS cannot be validated on this cohort" in text
    assert "Grade 3 or more, among cases" in text
    assert "Any ICANS" not in text
    part = only_text(render(data, only=["forecasts"]))
    assert part.index("Grade 3 or more, among cases") < part.index("Any ICANS")
    assert "these scores are not evidence" in part


def test_declared_result_among_cases_may_lead_all_the_same():
    headline = Headline("icans_severe_cases", "ridge", 72.0, HORIZON_H)
    text = only_text(glance_html(replace(synthetic_data(False), headline=headline)))
    assert "Grade 3 or more, among cases, forecast on day 3 from onset" in text
    assert "Any ICANS" not in text


def test_cases_only_without_results_shows_no_score():
    data = synthetic_data(False)
    performance = data.performance[data.performance["task"] == "icans_any"]
    text = only_text(glance_html(replace(data, performance=performance)))
    assert "AUROC (interval)" not in text
    assert "no score can lead this report" in text


def test_undecided_audit_says_so():
    text = only_text(glance_html(synthetic_data(None)))
    assert "The leakage audit could not decide" in text


def test_declared_result_that_is_missing_is_not_replaced_by_another():
    headline = Headline("icans_any", "ridge", 999.0, HORIZON_H)
    text = only_text(glance_html(replace(synthetic_data(True), headline=headline)))
    assert "could not be estimated" in text
    assert "AUROC (interval)" not in text
    assert "reached AUROC" not in text


def test_hostile_text_is_inert():
    frame = pd.DataFrame({"patient_id": [NASTY, "b"], "site": [NASTY, "y"], "sex": ["male", "female"]})
    labs = pd.DataFrame(
        {"patient_id": NASTY, "time_h": [0.0, 24.0], "analyte": NASTY, "value": [1.0, 2.0], "unit": NASTY}
    )
    grades = pd.DataFrame(
        {"patient_id": [NASTY, "b"], "time_h": 24.0, "toxicity": "ICANS", "scheme": "ASTCT", "grade": [2, 0]}
    )
    given = pd.DataFrame({"patient_id": [NASTY], "time_h": [5.0], "drug": [NASTY]})
    tables = {"patients": frame, "measurements": labs, "grades": grades, "treatments": given}
    cohort = make(NASTY, tables, provenance=Provenance(NASTY, True, NASTY, NASTY))
    full = synthetic_data()
    words = Audit(full.audit.table.assign(what=NASTY), (NASTY,), True)
    data = replace(full, study=NASTY, delivered=cohort, harmonised=cohort, audit=words, limits=(NASTY,))
    html = render(data, only=[name for name in SECTIONS if name != "forecasts"])
    assert html.count("<script") == 1
    assert "<script>alert" not in html
    assert "&lt;script&gt;" in html
    page = Page(html)
    assert NASTY.split("&")[0] in page.text


@pytest.mark.parametrize("start", [0, 1])
def test_every_part_is_optional(start):
    fields = ["findings", "audit", "headline", "performance", "comparisons", "calibration", "decision", "grade_paths",
              "crosswalk", "agreement", "predictions", "forecasts"]  # fmt: skip
    data = replace(synthetic_data(n=8), **dict.fromkeys(fields[start::2]))
    parts = ["glance", "quality", "forecasts", "audit", "limits", "run"]
    assert Page(render(data, only=parts)).all("h2")


def test_sections_that_do_not_exist_are_refused():
    with pytest.raises(KeyError, match="glimpse"):
        render(ReportData("x"), only=["glimpse"])


def test_an_empty_report_says_what_is_absent():
    text = only_text(render(ReportData("empty")))
    assert text.count("No cohort was handed to the report.") >= 3
    assert "This run made no forecasts." in text


def test_a_cohort_of_patients_only():
    bare = make("bare", {"patients": pd.DataFrame({"patient_id": ["a", "b"]})})
    text = only_text(render(ReportData("bare", delivered=bare)))
    assert "The cohort has no grades." in text
    assert "The cohort has no measurements." in text


def test_columns_that_are_missing_are_all_named_at_once():
    data = ReportData("x", performance=pd.DataFrame({"task": []}), findings=pd.DataFrame({"analyte": []}))
    with pytest.raises(DataError) as caught:
        render(data)
    files = [p.file for p in caught.value.problems]
    assert files == ["ReportData.findings", "ReportData.performance"]
    assert "landmark_h" in caught.value.problems[1].column


def test_long_tables_are_folded_cut_and_point_to_the_file():
    builder = Builder(synthetic_data(n=20))
    grid = builder.table(pd.DataFrame({"x": range(1000)}), "Long", file="long.parquet")
    assert len(grid.rows) == ROW_LIMIT
    assert grid.folded
    assert "200 of 1,000 rows" in grid.left_out
    assert "tables/long.parquet" in grid.left_out
    assert not builder.table(pd.DataFrame({"x": range(5)}), "Short").folded


def test_verdicts_of_the_audit_have_their_look():
    looks = {
        w: verdict(w).look for w in ("separates", "tells", "quiet", "not estimable", "found", "passes", "fails", "odd")
    }
    assert looks == {
        "separates": "bad", "tells": "caution", "quiet": "good", "not estimable": "neutral", "found": "bad",
        "passes": "good", "fails": "bad", "odd": "neutral",
    }  # fmt: skip


def test_risk_histogram_leaves_out_those_whose_outcome_is_unknown():
    data = synthetic_data(n=20)
    rows = data.predictions
    mine = rows[(rows["model"] == "ridge") & (rows["landmark_h"] == 72.0)]
    unknown = (mine["event"] == 0) & (mine["time_h"] < HORIZON_H)
    risks = forecasts._risks(data, data.task("icans_any"), "ridge", 72.0, HORIZON_H)
    assert len(risks) == (~unknown).sum()
    assert risks["had_event"].sum() == ((mine["event"] == 1) & (mine["time_h"] <= HORIZON_H)).sum()


def test_sample_takes_turns_between_outcome_groups():
    cohort = synthetic_cohort(60)
    chosen = sample(cohort, 3)
    from icans.report.outcomes import outcome_groups

    groups = outcome_groups(cohort)
    assert [groups[p] for p in chosen] == ["ICANS grade ≥ 3", "ICANS grade 1–2", "No ICANS"]
    assert sample(cohort, 3) == chosen


def test_same_data_same_bytes():
    only = ["glance", "grades"]
    assert render(synthetic_data(n=8), only) == render(synthetic_data(n=8), only)


def test_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "report.html"
    assert write_report(ReportData("empty"), path) == path
    before = path.read_bytes()
    with pytest.raises(DataError):
        write_report(ReportData("x", performance=pd.DataFrame()), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_the_lead_of_each_section_is_a_sentence(page):
    builder = Builder(synthetic_data(n=20))
    assert glance.section(builder).lead.endswith(".")
    assert all(make(Builder(ReportData("x"))).lead.endswith(".") for make in SECTIONS.values())


def test_beside_a_score_stands_what_source_and_counts_reach_alone():
    """The strongest check of provenance (product set apart) and the counts known at the score's landmark."""
    rows = [
        ("t", "site", "provenance", "any time", 0.55, "quiet"),
        ("t", "unit regime", "provenance", "whole record", 0.93, "separates"),
        ("t", "product", "provenance", "any time", 0.97, "separates"),
        ("t", "row counts", "process", "whole record", 0.95, "separates"),
        ("t", "row counts", "process", "known by day 3", 0.61, "quiet"),
        ("other", "site", "provenance", "any time", 0.99, "separates"),
    ]
    table = pd.DataFrame(rows, columns=["task", "check", "kind", "scope", "value", "verdict"])
    data = ReportData("x", audit=Audit(table, (), False))
    chip = focus.audit_beside(data, Task("t", "T"), 72.0)
    assert (chip.text, chip.look) == ("source 0.93, counts 0.61", "bad")
    late = table[(table["kind"] == "process") & (table["task"] == "t")]
    chip = focus.audit_beside(ReportData("x", audit=Audit(late, (), True)), Task("t", "T"), 24.0)
    assert (chip.text, chip.look) == ("counts 0.95", "caution"), "watching after onset is care"
