"""Figures alone: each draws, is well-formed, keeps its text inert, and leaves no global state behind."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from icans.report import style
from icans.report.atlas import atlas
from icans.report.figures.atlas import fig_atlas
from icans.report.figures.base import to_svg
from icans.report.figures.curves import fig_calibration, fig_decision
from icans.report.figures.grades import fig_crosswalk, fig_grade_rows, fig_grade_shares
from icans.report.figures.missingness import fig_missingness
from icans.report.figures.performance import fig_grade_paths, fig_ladder
from icans.report.figures.timeline import fig_timeline
from icans.report.missing import daily_missingness
from icans.report.outcomes import daily_worst
from report_cohorts import HORIZON_H, synthetic_cohort, synthetic_data


@pytest.fixture(scope="module")
def data():
    return synthetic_data(n=25)


def figures(data):
    cohort = data.cohort
    daily = daily_worst(cohort, "ICANS")
    rows = data.performance
    one = rows[(rows["task"] == "icans_any") & (rows["metric"] == "auc") & (rows["horizon_h"] == HORIZON_H)]
    curve = data.calibration.query("landmark_h == 72")
    benefit = data.decision.query("landmark_h == 72")
    risks = pd.DataFrame({"risk": [0.1, 0.9, 0.4], "had_event": [False, True, True]})
    patient = cohort.patient_ids[0]
    return {
        "atlas": fig_atlas(atlas(cohort, by="icans"), ("ICANS", "No ICANS")),
        "missingness": fig_missingness(daily_missingness(cohort)),
        "shares": fig_grade_shares(daily, "ICANS"),
        "rows": fig_grade_rows(daily, "ICANS", cohort.patient_ids),
        "crosswalk": fig_crosswalk(data.crosswalk, "ASTCT", "CARTOX"),
        "ladder": fig_ladder(one, data.models),
        "paths": fig_grade_paths(data.grade_paths),
        "calibration": fig_calibration(curve, risks, data.models, ["ridge", "gbm"], "day 3"),
        "decision": fig_decision(benefit),
        "timeline": fig_timeline(cohort, patient, data.forecasts.query("patient_id == @patient")),
    }


def test_every_figure_is_well_formed_with_its_own_ids(data):
    seen: set[str] = set()
    for name, figure in figures(data).items():
        root = ET.fromstring(to_svg(figure, f"x{name}", f"about {name}", synthetic=True))
        assert root.attrib["aria-label"] == f"about {name}"
        ids = [e.attrib["id"] for e in root.iter() if "id" in e.attrib]
        assert len(ids) == len(set(ids))
        assert all(i.startswith(f"x{name}-") for i in ids)
        assert not seen & set(ids)
        seen |= set(ids)
        text = " ".join(t for e in root.iter() for t in e.itertext())
        assert "SYNTHETIC DATA" in text


def test_figures_leave_settings_as_they_were(data):
    before = dict(mpl.rcParams)
    for name, figure in figures(data).items():
        to_svg(figure, name, name)
    assert dict(mpl.rcParams) == before
    assert (
        "matplotlib.pyplot" not in __import__("sys").modules or not __import__("matplotlib.pyplot").pyplot.get_fignums()
    )


def test_text_of_figures_is_escaped_and_never_mathematics():
    nasty = 'a<b>&"$\\frac$'
    rows = pd.DataFrame(
        {"model": [nasty], "landmark_h": [24.0], "metric": ["auc"], "value": [0.6], "low": [0.5], "high": [0.7],
         "n": [10], "events": [4]}
    )  # fmt: skip
    svg = to_svg(fig_ladder(rows), "n", nasty)
    assert "<b>" not in svg
    root = ET.fromstring(svg)
    assert root.attrib["aria-label"] == nasty
    assert nasty in [t for e in root.iter() for t in e.itertext()]


def test_atlas_cells_print_median_and_n_and_hatch_the_few(data):
    table = atlas(data.cohort)
    texts = [t.get_text() for t in fig_atlas(table).axes[0].texts]
    shown = table[table["shown"]]
    assert sum(t == f"n {n}" for n in shown["n"] for t in texts) > 0
    few = table[(table["n"] > 0) & ~table["shown"]]
    hatched = [p for p in fig_atlas(table).axes[0].patches if p.get_hatch()]
    assert len(hatched) == len(few) > 0


def test_atlas_of_nothing_says_so():
    figure = fig_atlas(atlas(synthetic_cohort(6)).iloc[:0])
    assert "No analyte" in figure.texts[0].get_text()


def test_a_patient_with_nothing_recorded_says_so():
    cohort = synthetic_cohort(6)
    for name in ("measurements", "grades", "treatments"):
        cohort = cohort.with_table(name, cohort.table(name).iloc[:0])
    assert "Nothing was recorded" in fig_timeline(cohort, cohort.patient_ids[0]).texts[0].get_text()


def test_rows_far_outside_the_days_shown_do_not_stretch_the_timeline():
    cohort = synthetic_cohort(6)
    grades = cohort.grades.copy()
    grades.loc[grades["patient_id"] == "P000", "time_h"] += 24 * 200
    figure = fig_timeline(cohort.with_table("grades", grades), "P000")
    assert figure.axes[-1].get_xlim()[1] <= 30
    to_svg(figure, "far", "far")


def test_a_model_keeps_its_colour_between_figures(data):
    ladder = list(data.models)
    place = ladder.index("gbm")
    curve = fig_calibration(data.calibration.query("landmark_h == 72"), None, data.models, ["gbm"])
    line = next(x for x in curve.axes[0].lines if x.get_label() == data.models["gbm"])
    assert line.get_color() == style.colour(place)


def lightness(colour) -> float:
    """CIE L* of an sRGB colour."""
    y = style.luminance(to_rgb(colour))
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


def test_colour_scales_rise_evenly_in_lightness():
    grades = [lightness(c) for c in style.GRADES]
    assert all(a - b > 8 for a, b in pairwise(grades))
    steps = [lightness(style.sequential()(x)) for x in np.linspace(0, 1, 21)]
    assert all(a > b for a, b in pairwise(steps))
    left = [lightness(style.diverging()(x)) for x in np.linspace(0, 0.5, 11)]
    right = [lightness(style.diverging()(x)) for x in np.linspace(1, 0.5, 11)]
    assert all(a < b for a, b in pairwise(left))
    assert np.abs(np.subtract(left, right)).max() < 6


def contrast(one, other) -> float:
    a, b = sorted([style.luminance(to_rgb(one)), style.luminance(to_rgb(other))], reverse=True)
    return (a + 0.05) / (b + 0.05)


def test_text_contrasts_with_what_is_behind_it():
    assert contrast(style.SOFT, style.PAPER) >= 4.5
    assert contrast(style.SOFT, style.PANEL) >= 4.5
    assert contrast(style.ACCENT, style.PAPER) >= 4.5
    assert contrast(style.WARM, style.PAPER) >= 4.5
    assert all(contrast(front, back) >= 4.5 for back, front in style.CHIPS.values())
    for x in np.linspace(0, 1, 101):
        colour = style.diverging()(x)
        assert contrast(style.readable_on(colour), colour[:3]) >= 4.5
    assert all(contrast(c, style.PAPER) >= 2.2 for c in style.QUALITATIVE)


def test_svg_asks_for_nothing_outside():
    svg = to_svg(fig_grade_rows(daily_worst(synthetic_cohort(10), "ICANS"), "ICANS", ["P000"]), "s", "s")
    assert not re.search(r'href="(?!#|data:)', svg)
