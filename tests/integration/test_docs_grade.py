"""The code on the page about grading runs as printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "grade.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block(number):
    exec(compile(BLOCKS[number], f"{PAGE.name}, block {number + 1}", "exec"), {})


def test_the_page_names_every_scheme():
    from icans.harmonize.grading.cytopenia import RULES
    from icans.harmonize.grading.registry import SCHEMES

    text = PAGE.read_text(encoding="utf-8")
    assert len(BLOCKS) >= 4
    assert [name for name in [*SCHEMES, *RULES] if f"`{name}`" not in text] == []
