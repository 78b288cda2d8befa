"""What a page is made of: sections of blocks, as plain values. The template turns them into HTML and escapes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
from markupsafe import Markup

from icans.report import format as fmt
from icans.report.figures.base import SYNTHETIC_LABEL, to_svg
from icans.report.model import ReportData, Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Rows above which a table is folded away, and rows printed at most.
FOLD_ABOVE = 15
ROW_LIMIT = 200

#: Words in a verdict (regular expressions, in the order in which they are tried) and the look of its chip.
VERDICTS: tuple[tuple[str, str], ...] = (
    (r"\b(not estimable|not run|skipped)\b", "neutral"),
    (r"\b(no|not a|without) (leak|problem)|none found", "good"),
    (r"\b(separates|found|fails?|failed|leaks?|cannot|confounded|error)\b", "bad"),
    (r"\b(tells|warns?|warning|caution|suspect|undecided|uninformative)\b", "caution"),
    (r"\b(quiet|pass|passes|passed|ok|clear|clean|good)\b", "good"),
)

#: How columns are printed wherever they occur, and what they are called.
COLUMN_SHOWN: dict[str, Callable[[Any], str]] = {
    "landmark_h": fmt.landmark, "horizon_h": fmt.horizon, "lead_h": fmt.horizon, "time_h": fmt.landmark,
    "metric": fmt.metric,
}  # fmt: skip
COLUMN_NAMES = {"landmark_h": "landmark", "horizon_h": "horizon", "lead_h": "ahead", "time_h": "time"}


@dataclass(frozen=True)
class Chip:
    """A word in a coloured pill; the word carries the meaning."""

    text: str
    look: str = "neutral"


@dataclass(frozen=True)
class Heading:
    """A heading within a section (level 3)."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str
    soft: bool = False


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    kind: ClassVar[str] = "bullets"
    items: tuple[str, ...]


@dataclass(frozen=True)
class Callout:
    """A boxed statement that must not be overlooked. ``look`` as in :data:`icans.report.style.CHIPS`."""

    kind: ClassVar[str] = "callout"
    title: str
    lines: tuple[str, ...] = ()
    look: str = "neutral"


@dataclass(frozen=True)
class Facts:
    """Large figures with a label each: (value, label, note)."""

    kind: ClassVar[str] = "facts"
    items: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Code:
    """Text in a fixed-width box."""

    kind: ClassVar[str] = "code"
    text: str
    label: str


@dataclass(frozen=True)
class Picture:
    """A figure with number, caption and text for readers who cannot see it. ``width`` in px as drawn."""

    kind: ClassVar[str] = "picture"
    svg: Markup
    number: int
    title: str
    caption: str
    width: int


@dataclass(frozen=True)
class Gallery:
    """Small figures side by side, wrapping as the page is narrow."""

    kind: ClassVar[str] = "gallery"
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Grid:
    """A table as text. ``numeric`` says which columns are aligned to the right."""

    kind: ClassVar[str] = "grid"
    number: int
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    numeric: tuple[bool, ...]
    note: str = ""
    left_out: str = ""
    folded: bool = False
    row_heads: bool = False


@dataclass(frozen=True)
class Fold:
    """Blocks that open on demand."""

    kind: ClassVar[str] = "fold"
    summary: str
    blocks: tuple[Any, ...]


@dataclass(frozen=True)
class Section:
    """One chapter of the report; ``lead`` says in plain words what it shows."""

    name: str
    title: str
    lead: str
    blocks: tuple[Any, ...] = ()


class PlainNames:
    """Of a page without tasks and a ladder: names stand for themselves."""

    def task(self, name: str) -> Task:
        """The name as a task."""
        return Task(name, name)

    def model_label(self, name: str) -> str:
        """The name itself."""
        return name


@dataclass
class Builder:
    """Numbers figures and tables while sections are made, and labels synthetic data.

    ``part`` keeps the ids of figures apart when several builders make one page (:func:`numbered`).
    """

    data: ReportData
    figures: int = 0
    tables: int = 0
    part: str = ""

    @property
    def label(self) -> str:
        """What stands before every caption when the data are synthetic."""
        return f"{SYNTHETIC_LABEL}. " if self.data.is_synthetic else ""

    def _task(self, name: str) -> str:
        return self.data.task(name).label

    def picture(self, figure: Figure, title: str, caption: str, alt: str) -> Picture:
        """A figure as a block; ``figure`` is used up."""
        self.figures += 1
        width = round(float(figure.get_figwidth()) * 96)
        svg = to_svg(figure, f"{self.part}f{self.figures}", self.label + alt, self.data.is_synthetic)
        return Picture(svg, self.figures, self.label + title, caption, width)

    def table(
        self,
        frame: pd.DataFrame,
        title: str,
        note: str = "",
        show: Mapping[str, Callable[[Any], Any]] | None = None,
        names: Mapping[str, str] | None = None,
        file: str = "",
        fold: bool | None = None,
        row_heads: bool = False,
    ) -> Grid:
        """A data frame as a table.

        Parameters
        ----------
        frame
            Rows; at most :data:`ROW_LIMIT` are printed.
        title, note
            Caption, and what stands beneath.
        show
            How to print a column (default: by the kind of its values).
        names
            Headings by column (default: the column's name with blanks).
        file
            Parquet file with all rows, for the pointer beneath a table that was cut.
        fold
            None: folded when it has more than :data:`FOLD_ABOVE` rows.
        row_heads
            The first column names the rows.
        """
        self.tables += 1
        shown = frame.head(ROW_LIMIT)
        said = {**COLUMN_SHOWN, "task": self._task, "model": self.data.model_label, **(show or {})}
        columns = [_printed(shown[c], said.get(str(c))) for c in shown.columns]
        called = {**COLUMN_NAMES, **(names or {})}
        left_out = ""
        if len(frame) > ROW_LIMIT:
            where = f"{self.data.tables_folder}/{file}" if file else f"the folder {self.data.tables_folder}"
            left_out = f"{ROW_LIMIT} of {fmt.whole(len(frame))} rows shown; all of them are in {where}."
        return Grid(
            number=self.tables,
            title=self.label + title,
            columns=tuple(_head(called.get(str(c), str(c))) for c in shown.columns),
            rows=tuple(zip(*columns, strict=True)) if len(shown) else (),
            numeric=tuple(_is_numeric(shown[c], column) for c, column in zip(shown.columns, columns, strict=True)),
            note=note,
            left_out=left_out,
            folded=len(frame) > FOLD_ABOVE if fold is None else fold,
            row_heads=row_heads,
        )


def merge_interval(table: pd.DataFrame, value: str = "value") -> pd.DataFrame:
    """``value``, ``low`` and ``high`` in one column of text, where a table has all three."""
    if not {value, "low", "high"} <= set(table.columns):
        return table
    shown = [fmt.estimate(*row) for row in table[[value, "low", "high"]].itertuples(index=False)]
    return table.drop(columns=["low", "high"]).assign(**{value: pd.Series(shown, index=table.index, dtype=object)})


def verdict(text: object) -> Chip:
    """A verdict of the audit as a chip; the first word of :data:`VERDICTS` that occurs decides its look."""
    word = fmt.NOTHING if fmt.absent(text) else str(text).replace("_", " ")
    for pattern, look in VERDICTS:
        if re.search(pattern, word, flags=re.IGNORECASE):
            return Chip(word, look)
    return Chip(word)


def _head(name: str) -> str:
    """A heading of a column: blanks for underscores, a capital in front."""
    name = name.replace("_", " ")
    return name[:1].upper() + name[1:]


def _printed(values: pd.Series, show: Callable[[Any], Any] | None) -> list[Any]:
    if show is not None:
        return [fmt.NOTHING if fmt.absent(v) else show(v) for v in values]
    if pd.api.types.is_bool_dtype(values):
        return [fmt.NOTHING if fmt.absent(v) else ("yes" if v else "no") for v in values]
    if pd.api.types.is_integer_dtype(values):
        return [fmt.whole(v) for v in values]
    if pd.api.types.is_float_dtype(values):
        return [fmt.significant(v) for v in values]
    return [v if isinstance(v, Chip) else _word(v) for v in values]


def _word(value: Any) -> str:
    if isinstance(value, float):
        return fmt.significant(value)
    return fmt.NOTHING if fmt.absent(value) else str(value)


def _is_numeric(values: pd.Series, printed: Iterable[Any]) -> bool:
    """Numbers, and texts that begin with a digit in most rows, are aligned to the right."""
    if pd.api.types.is_bool_dtype(values):
        return False
    if pd.api.types.is_numeric_dtype(values):
        return True
    words = [w for w in printed if isinstance(w, str) and w and w != fmt.NOTHING]
    starts = sum(w.lstrip("−≤<(").strip()[:1].isdigit() and "day" not in w for w in words)
    return bool(words) and starts > 0.8 * len(words) and max(map(len, words)) < 40


def numbered(sections: Iterable[Section]) -> list[Section]:
    """Sections of several builders with their figures and tables numbered through, in reading order."""
    count = {"picture": 0, "grid": 0}

    def with_number(block: Any) -> Any:
        if block.kind in count:
            count[block.kind] += 1
            return replace(block, number=count[block.kind])
        for inner in ("blocks", "pictures"):
            if hasattr(block, inner):
                return replace(block, **{inner: tuple(with_number(b) for b in getattr(block, inner))})
        return block

    return [replace(s, blocks=tuple(with_number(b) for b in s.blocks)) for s in sections]


def absent(what: str, why: str = "") -> Callout:
    """Says that something is not in this report, instead of leaving a hole."""
    return Callout(what, (why,) if why else (), "neutral")


def blocks_of(*parts: Any) -> tuple[Any, ...]:
    """Blocks, and sequences of blocks however nested, in one row; None is left out."""
    flat: list[Any] = []
    for part in parts:
        if isinstance(part, (list, tuple)):
            flat += blocks_of(*part)
        elif part is not None:
            flat.append(part)
    return tuple(flat)
