"""The page of a simulation and its figures."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

import simulation_pages as made
from icans.report import quantities as words
from icans.report import style
from icans.report.figures import barrier, base, brain, courses, diagram, therapy
from icans.report.simulation import render_simulation

ONE = made.ARMS[:1]
STRANGE = ("S1P modulator",)


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def drawn(figure, name: str = "f") -> str:
    return str(base.to_svg(figure, name, "alt", synthetic=True))


def test_the_page_says_what_it_is():
    html = render_simulation(made.page())
    assert "RESEARCH USE ONLY" in html
    assert "SYNTHETIC DATA" in html
    assert "HYPOTHETICAL: S1P modulator" in html
    assert "A made-up &lt;simulation&gt;" in html
    assert "<simulation>" not in html
    assert not re.search(r"(src|href)=\"https?:", html)
    for caption in re.findall(r'<span class="label">Figure \d+\.</span> ([^<]*)', html):
        assert caption.startswith("SYNTHETIC DATA. ")


def test_the_page_of_one_patient_counts_no_incidences():
    html = render_simulation(made.page(ONE, patients=1))
    assert "1 virtual patient" in html
    assert 'id="compared"' not in html
    assert "HYPOTHETICAL" not in html


@pytest.mark.parametrize("arms", [ONE, made.ARMS], ids=["one arm", "three arms"])
def test_every_figure_is_drawn_and_labelled(arms):
    group = {g.name: g for g in words.GROUPS}
    figures = [
        courses.fig_courses(made.bands(arms), group["inflammation"], made.UNITS, arms),
        barrier.fig_barrier_map(made.regional(arms), arms),
        barrier.fig_barrier_open(made.heads(arms), arms),
        therapy.fig_incidence(made.incidence(arms), arms),
        therapy.fig_worst_grades(made.worst(arms), arms),
        courses.fig_patient(made.course(), made.UNITS, made.daily_grades(), made.doses()),
    ]
    for number, figure in enumerate(figures):
        assert "SYNTHETIC DATA" in texts(drawn(figure, f"f{number}"))


def test_hypothetical_is_written_in_the_figure_itself():
    svg = drawn(therapy.fig_incidence(made.incidence(made.ARMS), made.ARMS, STRANGE))
    assert "HYPOTHETICAL" in texts(svg)
    svg = drawn(courses.fig_patient(made.course(), made.UNITS, None, made.doses(), ("s1p_modulator",)))
    assert "HYPOTHETICAL" in texts(svg)


def test_brain_shapes_hold_every_region_and_lie_where_they_should():
    from matplotlib.path import Path

    shapes = brain.shapes()
    assert set(shapes) == {*brain.REGION_LABELS, "ventricle"}
    inside = {
        "white_matter": "cortex",
        "thalamus": "white_matter",
        "basal_ganglia": "white_matter",
        "ventricle": "white_matter",
    }
    for inner, outer in inside.items():
        assert Path(shapes[outer]).contains_points(shapes[inner]).all(), (inner, outer)
    for name, (x, y, *_) in brain.LEADERS.items():
        assert Path(shapes[name]).contains_point((x, y)), name
        for other in brain.REGION_LABELS.keys() - {name, inside.get(name, ""), "cortex"}:
            assert not Path(shapes[other]).contains_point((x, y)) or other == "white_matter", (name, other)


def test_colours_of_the_barrier_get_lighter_towards_intact():
    light = [style.luminance(style.barrier()(x)) for x in np.linspace(0, 1, 21)]
    assert all(b > a for a, b in pairwise(light))


def test_integrity_between_times_is_on_a_straight_line():
    table = pd.DataFrame({"arm": "a", "region": "cortex", "time_h": [0.0, 48.0], "value": [1.0, 0.5]})
    assert barrier.at_day(table, "a", 1) == {"cortex": pytest.approx(0.75)}


def test_ticks_of_small_numbers_keep_their_decimals():
    rows = pd.DataFrame({"arm": "a", "quantity": "qalb_lumbar", "time_h": made.TIMES})
    rows = rows.assign(**dict.fromkeys(courses.BANDS, np.linspace(1e-3, 2e-2, len(rows))))
    group = {g.name: g for g in words.GROUPS}["brain"]
    svg = drawn(courses.fig_courses(rows, group, {}, ("a",)))
    assert {"0.001", "0.01"} <= set(texts(svg))


def test_labels_carry_units_for_people():
    assert words.label("IL6", {"IL6": "pg/mL"}) == "IL-6, pg/mL"
    assert words.label("ENDO", {"ENDO": "1"}) == "Endothelial activation"
    assert words.label("PLT", {"PLT": "10*9/L"}) == "Platelets, 10⁹/L"


def test_the_diagram_is_read_off_the_equations():
    from icans.mechanism.patient import patient_model

    model = patient_model(("tocilizumab", "rimiducid", "s1p_modulator"))
    found = diagram.links(model)
    assert "MYE_A" in found["myeloid", "cytokines"]
    assert "engaged" in found["cells", "myeloid"]
    assert set(diagram.MAIN) <= set(found)
    assert not any({"tocilizumab", "rimiducid", "s1p_modulator"} & set(link) for link in found)
    entering = diagram.acts_on(model)
    assert entering["cells"] == ("rimiducid",)
    assert "tocilizumab" in entering["cytokines"]
    assert "CAR ×5" in diagram.followed(model, "cells")
    svg = drawn(diagram.fig_diagram(model))
    assert any("HYPOTHETICAL" in text for text in texts(svg))
    assert set(diagram.PLACES) == {m.name for m in model.modules} - {d.name for d in model.drugs}
