"""Every lever of therapy against what was published: sign, and interval where there is one.

``python -m icans.intervene.compare.levers`` writes ``docs/levers.md`` (1,000 virtual patients an arm).
"""

from __future__ import annotations

import argparse
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from icans.intervene.compare.arm import TIMES_H, Course, run_course
from icans.intervene.compare.running import Group
from icans.intervene.compare.summary import wilson
from icans.intervene.compare.switches import dasatinib_looks, rimiducid_looks
from icans.intervene.strategy.reading import parse_strategies, strategies
from icans.intervene.strategy.strategy import Strategy, drugs_of
from icans.intervene.world.cast import Cast
from icans.population import artefact
from icans.population.quantities import View, evaluate
from icans.population.readings import reading_errors

Array = npt.NDArray[np.float64]

FILE = "levers.toml"
#: A change of a share within so many points is none.
FLAT = 12.0
SEED = 20240201
OUTPUTS = ("crs_severity", "encephalopathy", "IL6", "CRP")


@dataclass(frozen=True)
class Look:
    """One expectation of a lever.

    ``before``, ``after``: simulated; ``spread``: 95 % interval of the simulated sample around ``after``. ``low`` and
    ``high``: published interval, NaN without one.
    """

    lever: str
    quantity: str
    before: float
    after: float
    spread: tuple[float, float]
    sign: str
    published: str
    low: float
    high: float
    source: str

    @property
    def right(self) -> bool:
        """Whether the difference has the published sign; true where the source compares with nothing."""
        move = self.after - self.before
        if self.sign == "not said":
            return True
        if self.sign == "flat":
            return abs(move) <= FLAT
        return bool(move > 0) if self.sign == "up" else bool(move < 0)

    @property
    def inside(self) -> bool | None:
        """Whether the simulated value lies in the published interval; None without one."""
        return None if math.isnan(self.low) else bool(self.low <= self.after <= self.high)


@cache
def table() -> tuple[tuple[dict[str, Any], ...], Mapping[str, Strategy]]:
    """The levers, and the strategies that they name."""
    text = (resources.files(__package__) / FILE).read_text(encoding="utf-8")
    own = parse_strategies(text, FILE, skip=("lever",))
    return tuple(tomllib.loads(text)["lever"]), {**strategies(), **own}


def levers(n: int = 1000, seed: int = SEED, names: Sequence[str] | None = None) -> list[Look]:
    """Every look of the levers (of those named, and of the switches where ``names`` is None) on ``n`` patients."""
    entries, known = table()
    made: list[Look] = []
    kept: dict[tuple[str, str, str], View] = {}
    for entry in entries:
        if names is None or entry["name"] in names:
            made += _looks(entry, known, n, seed, kept)
    if names is None or "Rimiducid (iCasp9)" in names:
        made += _switch("Rimiducid (iCasp9)", rimiducid_looks(known["rimiducid_at_once"], n, seed))
    if names is None or "Dasatinib pause" in names:
        made += _switch("Dasatinib pause", dasatinib_looks(known["dasatinib_three_days"], n, seed))
    return made


def _looks(
    entry: Mapping[str, Any], known: Mapping[str, Strategy], n: int, seed: int, kept: dict[tuple[str, str, str], View]
) -> list[Look]:  # fmt: skip
    views = []
    for name in (entry["base"], entry["changed"]):
        key = (entry["product"], entry["disease"], name)
        if key not in kept:
            kept[key] = _view(known[name], Group(key[0], key[1], n), seed)
        views.append(kept[key])
    made = []
    for look in entry["looks"]:
        scheme = look.get("scheme", "astct")
        before, after = (evaluate(v, look["quantity"], scheme) for v in views)
        share = look["quantity"].startswith("inc ")
        spread = tuple(100.0 * x for x in wilson(after / 100.0, n)) if share else (math.nan, math.nan)
        label = look["quantity"] + (f" ({scheme})" if "scheme" in look else "")
        made.append(Look(entry["name"], label, before, after, (spread[0], spread[1]), look["sign"],
                         look.get("published", ""), float(look.get("low", math.nan)),
                         float(look.get("high", math.nan)), entry["source"]))  # fmt: skip
    return made


def _view(strategy: Strategy, group: Group, seed: int) -> View:
    readings = artefact.read().readings
    patients: Cast = group.draw(seed, drugs_of([strategy]))
    course: Course = run_course(strategy, patients, readings, OUTPUTS, times_h=TIMES_H)
    noise, stray, uniform = reading_errors(group.n, seed)
    series = {k: np.nan_to_num(v).astype(float) for k, v in course.series.items()}
    return View(TIMES_H / 24.0, series, patients.covariates, course.ok / course.ok.sum(), readings, noise, stray,
                uniform, np.full(group.n, np.nan), np.zeros(group.n, dtype=bool))  # fmt: skip


def _switch(name: str, found: Sequence[tuple[str, float, float, str, str, float, float, str]]) -> list[Look]:
    return [Look(name, quantity, before, after, (math.nan, math.nan), sign, published, low, high, source)
            for quantity, before, after, sign, published, low, high, source in found]  # fmt: skip


def markdown(looks: Sequence[Look], n: int) -> str:
    """The page of the documentation."""
    wrong, signed = [k for k in looks if not k.right], [k for k in looks if k.sign != "not said"]
    held = [k for k in looks if k.inside is not None]
    outside = [k for k in looks if k.inside is False]
    lines = [
        "# Levers of therapy", "",
        "<!-- Made by `python -m icans.intervene.compare.levers`; a test holds signs on fewer patients. -->", "",
        f"What each treatment does to the same {n:,} virtual (synthetic) patients, against what was published. Shares "
        "in percent; the interval beside a simulated share is that of its sample, the published one that of the study "
        "(Wilson's from its size where it gave none). Published arms are single arms against history or matched "
        "controls, partly of lower tumour burden: their patients are not the same as ours. Medians of latent severity "
        "have no unit; grade 3 begins near 3. *Not said*: the source gives no comparison.", "",
        f"{len(signed) - len(wrong)} of {len(signed)} published signs are right; of {len(held)} values with a "
        f"published interval, {sum(k.inside is True for k in held)} lie inside.", "",
        "| lever | quantity | before | after | sign | right | published | inside |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    lines += [_row(k) for k in looks]
    lines += ["", "## Outside their interval, and why", ""]
    lines += [
        f"* **{k.lever}, {k.quantity}**: {k.after:.1f} against {k.low:g} to {k.high:g}. {why(k)}" for k in outside
    ]
    lines += ["* none"] if not outside else []
    lines += ["", "## Sources", ""]
    lines += [f"* {name}: {source}." for name, source in dict.fromkeys((k.lever, k.source) for k in looks)]
    return "\n".join(lines) + "\n"


def why(look: Look) -> str:
    """What explains a value outside its interval (``levers.toml``), or that nothing was found."""
    for entry in table()[0]:
        if entry["name"] == look.lever:
            for one in entry["looks"]:
                if look.quantity.startswith(one["quantity"]) and "why" in one:
                    return str(one["why"])
    return "No explanation was found."


def _row(k: Look) -> str:
    spread = "" if math.isnan(k.spread[0]) else f" ({k.spread[0]:.1f} to {k.spread[1]:.1f})"
    interval = "" if math.isnan(k.low) else f" ({k.low:g} to {k.high:g})"
    inside = {None: "", True: "yes", False: "**no**"}[k.inside]
    right = "yes" if k.right else "**no**"
    return (f"| {k.lever} | {k.quantity} | {k.before:.3g} | {k.after:.3g}{spread} | {k.sign} | {right} | "
            f"{k.published}{interval} | {inside} |")  # fmt: skip


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--patients", type=int, default=1000)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/levers.md"))
    options = parser.parse_args()
    options.output.write_text(markdown(levers(options.patients), options.patients), encoding="utf-8")


if __name__ == "__main__":
    main()
