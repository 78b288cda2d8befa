"""The report in a real browser: no errors, no requests, no sideways scrolling, contents that lead somewhere."""

from __future__ import annotations

from itertools import pairwise

import pytest

from icans.report.render import SECTIONS
from report_cohorts import whole_page


@pytest.fixture(scope="module")
def address(once) -> str:
    return whole_page(once).as_uri()


def eventually(page, question: str, argument: object = None, tries: int = 150) -> bool:
    """Whether ``question`` becomes true within fifteen seconds (the page's policy forbids the driver's own waiting)."""
    for _ in range(tries):
        if page.evaluate(question, argument):
            return True
        page.wait_for_timeout(100)
    return False


#: Resolves when neither the page nor the list of contents has moved for half a second, as a reader would wait.
AT_REST = """() => new Promise(done => {
    let last = '', calm = 0;
    const timer = setInterval(() => {
        const now = scrollY + ' ' + document.querySelector('.toc').scrollLeft;
        calm = now === last ? calm + 1 : 0;
        last = now;
        if (calm >= 5) { clearInterval(timer); done(true); }
    }, 100);
})"""


def test_silent_and_self_contained(page):
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    page.wait_for_timeout(100)
    assert page.asked == []
    assert page.said == []


def test_the_policy_stops_foreign_scripts_and_requests(page):
    blocked = page.evaluate(
        """() => new Promise(done => {
            const script = document.createElement('script');
            script.textContent = 'window.ran = true';
            document.body.append(script);
            const image = new Image();
            image.onerror = () => done(!window.ran);
            image.src = 'https://example.org/x.png';
        })"""
    )
    assert blocked
    assert page.asked == []


def test_nothing_scrolls_sideways_even_with_everything_open(page):
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    width, shown = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert width <= shown
    wide = page.evaluate(
        """[...document.querySelectorAll('main p, main h2, main h3, figcaption, .callout, .facts, summary')]
           .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.textContent.slice(0, 60))"""
    )
    assert wide == []


def test_contents_lead_to_their_sections(page):
    links = page.locator(".toc a")
    assert links.count() == len(SECTIONS)
    for i in (0, len(SECTIONS) // 2, len(SECTIONS) - 1):
        link = links.nth(i)
        target = link.get_attribute("href")
        link.click()
        seen = """id => { const box = document.querySelector(id).getBoundingClientRect();
                          return box.top >= -1 && box.top < innerHeight * 0.9; }"""
        assert eventually(page, seen, target), target
        page.evaluate(AT_REST)
    assert eventually(page, "() => document.querySelector('.toc a[aria-current]').hash === '#run'")


def test_contents_stay_in_sight(page):
    page.evaluate("window.scrollTo({top: document.body.scrollHeight / 2, behavior: 'instant'})")
    box = page.locator(".toc").bounding_box()
    assert box is not None
    assert -1 <= box["y"] < 100


def test_figures_and_tables_can_be_read_without_sight(page):
    assert page.evaluate("[...document.images].every(i => i.alt)")
    unnamed = page.evaluate(
        """[...document.querySelectorAll('main svg, main .scroll')].filter(e => !e.getAttribute('aria-label')).length"""
    )
    assert unnamed == 0
    assert page.evaluate("[...document.querySelectorAll('table')].every(t => t.caption && t.caption.textContent)")
    assert page.evaluate("[...document.querySelectorAll('th')].every(t => t.scope)")
    assert page.evaluate("document.documentElement.lang") == "en"


def test_headings_are_in_order(page):
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))


def test_the_banner_says_what_the_data_are(page):
    banner = page.locator(".banner").inner_text()
    assert "RESEARCH USE ONLY" in banner
    assert "SYNTHETIC DATA" in banner


def test_the_audit_is_in_sight_beside_the_headline_score(page):
    """The chip of the audit is on the screen with the value, on a phone, too."""
    value, audit, width = page.evaluate(
        """() => { const cells = document.querySelectorAll('#glance tbody tr:first-child td');
                   const box = i => cells[i].getBoundingClientRect();
                   const chip = cells[2].querySelector('.chip').getBoundingClientRect();
                   return [[box(1).left, box(1).right], [chip.left, chip.right], innerWidth]; }"""
    )
    assert 0 <= value[0] < value[1] <= audit[0] < audit[1] <= width


def test_text_in_figures_is_large_enough(page):
    """Letters of figures stay legible: figures scroll in their box rather than shrink to a phone."""
    smallest = page.evaluate(
        """Math.min(...[...document.querySelectorAll('main svg text')].filter(t => t.textContent.trim())
             .map(t => parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a).filter(size => size > 0))"""
    )
    assert smallest >= 6.0


def test_printing_opens_what_is_folded(page):
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("[...document.querySelectorAll('details')].every(d => d.open)")
    assert not page.locator(".toc").is_visible()
