"""The page of therapies is made from the model; the one in the documentation is up to date."""

from __future__ import annotations

from pathlib import Path

from icans.mechanism.emit.therapies import LOUD, therapies_markdown
from icans.mechanism.regimens import regimens
from icans.mechanism.therapies import therapies

PAGE = Path(__file__).parents[2] / "docs" / "therapies.md"


def test_the_page_is_up_to_date():
    advice = "run: python -m icans.mechanism.emit.therapies > docs/therapies.md"
    assert PAGE.read_text(encoding="utf-8") == therapies_markdown(), advice


def test_whatever_is_hypothetical_says_so_in_its_own_line():
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    for entry in therapies().values():
        (row,) = [line for line in lines if f"| `{entry.name}` |" in line]
        assert (LOUD in row) == entry.hypothetical
    for name, plan in regimens().items():
        (head,) = [line for line in lines if line.startswith(f"### `{name}`")]
        assert (LOUD in head) == plan.hypothetical
