"""The page of a simulation in a real browser: silent, self-contained, legible on a phone."""

from __future__ import annotations

from itertools import pairwise

import pytest

import simulation_pages as made
from icans.report.simulation import write_simulation


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    return write_simulation(made.page(), tmp_path_factory.mktemp("simulate") / "simulate.html").as_uri()


def test_silent_and_self_contained(page):
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    page.wait_for_timeout(100)
    assert page.asked == []
    assert page.said == []


def test_says_what_it_is_before_anything_else(page):
    assert "RESEARCH USE ONLY" in page.locator(".banner").inner_text()
    assert "SYNTHETIC DATA" in page.locator(".banner").inner_text()
    assert page.locator(".callout.bad .callout-title").first.inner_text() == "HYPOTHETICAL: S1P modulator"


def test_nothing_scrolls_sideways_even_with_everything_open(page):
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    width, shown = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert width <= shown


def test_text_in_figures_is_large_enough(page):
    smallest = page.evaluate(
        """Math.min(...[...document.querySelectorAll('main svg text')].filter(t => t.textContent.trim())
             .map(t => parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a).filter(size => size > 0))"""
    )
    assert smallest >= 6.0


def test_every_figure_says_that_it_is_synthetic_and_can_be_read_without_sight(page):
    figures, labelled, named = page.evaluate(
        """() => { const all = [...document.querySelectorAll('main figure svg')];
                   return [all.length, all.filter(s => s.textContent.includes('SYNTHETIC DATA')).length,
                           all.filter(s => s.getAttribute('aria-label').startsWith('SYNTHETIC DATA')).length]; }"""
    )
    assert figures == labelled == named > 8


def test_words_in_figures_do_not_run_into_each_other(page):
    """No two words of one figure overlap by more than a sliver."""
    bad = page.evaluate(
        """() => { const found = [];
             for (const svg of document.querySelectorAll('main figure svg')) {
               const boxes = [...svg.querySelectorAll('text')].filter(t => t.textContent.trim())
                 .map(t => [t.textContent, t.getBoundingClientRect()]);
               for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
                 const [a, b] = [boxes[i][1], boxes[j][1]];
                 const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
                 const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
                 if (wide > 3 && high > 5) found.push(boxes[i][0] + ' / ' + boxes[j][0]);
               } }
             return found; }"""
    )
    assert bad == []


def test_headings_are_in_order_and_lead_somewhere(page):
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    missing = page.evaluate(
        "[...document.querySelectorAll('.toc a')].filter(a => !document.querySelector(a.hash)).length"
    )
    assert missing == 0
