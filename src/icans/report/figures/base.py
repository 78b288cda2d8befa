"""Drawing without global state: figures made and written under the report's settings, as inline SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec

from markupsafe import Markup, escape

from icans.report import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

P = ParamSpec("P")

SYNTHETIC_LABEL = "SYNTHETIC DATA"

#: Height of the strip that holds the label, inches.
LABEL_STRIP = 0.16

#: Resolution of parts that are drawn as pixels inside an SVG, dots per inch.
PIXELS_PER_INCH = 144


def figure(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Let a function draw under the report's settings, whatever the settings of the caller's session."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        from matplotlib import rc_context

        with rc_context(style.RC):
            return draw(*args, **kwargs)

    return drawn


def new(width: float, height: float) -> Figure:
    """An empty figure (inches) that belongs to no window and to no list of open figures."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def note(fig: Figure, text: str) -> None:
    """Say in the middle of an empty figure why it is empty."""
    fig.text(0.5, 0.5, text, ha="center", va="center", color=style.SOFT)


def to_svg(fig: Figure, name: str, alt: str, synthetic: bool = False) -> Markup:
    """The figure as an SVG element for an HTML page; the figure is used up.

    Ids are made unique with ``name`` (several SVGs share one page), text stays text in the page's font, and a
    figure of synthetic data says so inside, where a copy keeps it.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    with rc_context(style.RC):
        if synthetic:
            label_synthetic(fig)
        stream = io.StringIO()
        empty = {"Date": None, "Creator": None, "Format": None, "Type": None}
        fig.dpi = PIXELS_PER_INCH
        fig.set_facecolor(style.RC["savefig.facecolor"])
        # The canvas itself draws once, layout included; savefig would draw everything twice.
        FigureCanvasSVG(fig).print_svg(stream, metadata=empty)
    return Markup(_inline(stream.getvalue(), name, alt))  # noqa: S704 - written by matplotlib, which escapes text


def label_synthetic(fig: Figure) -> None:
    """Write the label into a strip of its own above the drawing."""
    strip = LABEL_STRIP / fig.get_figheight()
    layout = fig.get_layout_engine()
    if layout is not None:
        layout.set(rect=(0, 0, 1, 1 - strip))  # type: ignore[call-arg]
    fig.text(1, 1, SYNTHETIC_LABEL, ha="right", va="top", fontsize=6.5, color=style.WARM, fontweight="bold")


def _inline(svg: str, name: str, alt: str) -> str:
    """Strip what a page does not need, and make ids and labels its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(#|xlink:href="#)([\w.-]+)', svg))

    def own(match: re.Match[str]) -> str:
        return f' id="{name}-{match[1]}"' if match[1] in used else ""

    svg = re.sub(r'\sid="([^"]*)"', own, svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'xlink:href="#', f'xlink:href="#{name}-', svg)
    svg = re.sub(r"font: ([^;\"]*?)'DejaVu Sans'[^;\"]*", r"font: \1var(--font)", svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: var(--font)", svg)
    # numbers of coordinates lose what nobody sees; words between tags (a tick that says 0.001) stay
    svg = re.sub(r">[^<]+<|(\d+\.\d{2})\d+", lambda match: match[1] or match[0], svg)
    svg = re.sub(r"\n\s+", "\n", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1)


def plain_log_ticks(axis: object) -> None:
    """Powers of ten as plain numbers (the default would need mathematical type)."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}" if v >= 1 else f"{v:g}"))  # type: ignore[attr-defined]
    axis.set_minor_formatter(NullFormatter())  # type: ignore[attr-defined]


def grouped_ticks(axis: object) -> None:
    """Plain numbers with grouped thousands."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.6g}".replace("-", "−")))  # type: ignore[attr-defined]


def align_names(axes: Sequence[Axes]) -> None:
    """Put the names left of lanes at one distance, beyond the widest tick label of all.

    matplotlib's own ``align_ylabels`` measures every lane's ticks once for every other lane, at every drawing.
    """
    from matplotlib.transforms import ScaledTranslation

    fig = axes[0].get_figure(root=True)
    assert fig is not None  # lanes were made by a figure
    reach = 0.0
    for ax in axes:
        inner = ax.get_window_extent().x0
        reach = max([reach, *(inner - t.get_window_extent().x0 for t in ax.get_yticklabels() if t.get_text())])
    for ax in axes:
        away = ScaledTranslation(-(reach / fig.dpi + ax.yaxis.labelpad / 72), 0, fig.dpi_scale_trans)
        ax.yaxis.set_label_coords(0, 0.5, transform=ax.transAxes + away)


def percent_ticks(axis: Axis) -> None:
    """Shares as percentages, with the decimals that tell ticks apart."""
    from matplotlib.ticker import FuncFormatter

    def shown(value: float, _: int | None) -> str:
        low, high = axis.get_view_interval()
        decimals = 0 if abs(high - low) > 0.06 else 1 if abs(high - low) > 0.006 else 2
        return f"{100 * value:.{decimals}f}%"

    axis.set_major_formatter(FuncFormatter(shown))


def bare(ax: Axes) -> None:
    """No frame and no tick marks: for grids of cells."""
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.tick_params(length=0)
