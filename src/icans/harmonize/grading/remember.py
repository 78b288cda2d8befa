"""Equal findings are graded once: most days of a ward look alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from icans.harmonize.grading.findings import Findings, Grade, Value
from icans.harmonize.grading.options import GradingOptions
from icans.harmonize.grading.registry import Scheme
from icans.harmonize.grading.rules import rules


def remembering(scheme: Scheme, options: GradingOptions) -> Callable[[Findings], Grade]:
    """The scheme's function, which sees only the items that the scheme names, with a memory.

    Schemes ask of a temperature only whether it is fever; it is remembered as one of two values.
    """
    seen: dict[tuple[Any, ...], Grade] = {}
    items, limit = scheme.items, float(rules()["crs"]["astct"]["fever_c"])

    def plain(item: str, value: Value) -> Value:
        if item != "temperature_max_c":
            return value
        return limit if float(value) >= limit else limit - 1.0  # type: ignore[arg-type]

    def grade(found: Findings) -> Grade:
        values = {item: plain(item, value) for item, value in found.values.items() if item in items}
        key = (frozenset(values.items()), found.not_attributable, found.age_y, found.developmental_delay,
               found.seizure_history, frozenset(found.baseline.items()), found.incomplete)  # fmt: skip
        result = seen.get(key)
        if result is None:
            result = seen[key] = scheme.function(replace(found, values=values), options)
        return result

    return grade
