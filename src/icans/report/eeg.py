"""The page of one EEG: findings and score, course, maps, a page of traces, what was left out and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from icans.core.files import write_text
from icans.report import format as fmt
from icans.report.figures import eeg as draw
from icans.report.model import RunInfo
from icans.report.page import Builder, Callout, Facts, PlainNames, Section, absent, blocks_of
from icans.report.render import html_page
from icans.report.sections import run as run_section
from icans.signals.eeg.analyse import EegResult
from icans.signals.eeg.scene import Scene
from icans.signals.eeg.scores import Score

#: Looks of a flag by its severity.
LOOKS = {"note": "neutral", "doubt": "caution", "unusable": "bad"}


@dataclass(frozen=True)
class EegPage(PlainNames):
    """Everything that the page shows.

    ``features``: one row a feature (feature, label, unit, median, iqr, low, high, windows). ``findings``: one row a
    finding (finding, prevalence, there, why). ``windows_with``: findings of each window. ``shown``: the window whose
    traces are drawn, and the seconds of its discharges.
    """

    study: str
    result: EegResult
    features: pd.DataFrame
    findings: pd.DataFrame
    windows_with: pd.DataFrame
    score: Score | None
    shown: tuple[Scene, np.ndarray] | None
    run: RunInfo = field(default_factory=RunInfo)
    tables_folder: str = "tables"
    is_synthetic: bool = False


def render_eeg(data: EegPage) -> str:
    """The page as HTML."""
    builder = Builder(data)  # type: ignore[arg-type]  # a page of its own kind, as that of a population fit
    sections = [_glance(builder, data)]
    if data.result.usable:
        sections += [_course(builder, data), _traces(builder, data), _features(builder, data)]
    sections += [_left_out(builder, data), run_section.section(builder)]
    recording = data.result.recording
    subtitle = f"{recording.format} · {fmt.plural(len(data.result.survey.names), 'channel')}"
    return html_page(sections, title=data.study, kicker="icans eeg", subtitle=subtitle, synthetic=data.is_synthetic)


def write_eeg(data: EegPage, path: Path | str) -> Path:
    """Write the page; a reader never sees half a file. Returns the path."""
    write_text(path, render_eeg(data))
    return Path(path)


def _glance(builder: Builder, data: EegPage) -> Section:
    recording, result = data.result.recording, data.result
    facts = [
        (_duration(recording.seconds), "Recording", f"{fmt.plural(len(result.windows), 'window')} of 15 s"),
        (fmt.whole(len(result.survey.names)), "EEG channels used", fmt.joined(sorted(result.survey.left_out)) or ""),
    ]
    if data.score is not None:
        high = "" if data.score.high == data.score.value else f"up to {data.score.high:g} with what was not looked for"
        facts.append((f"{data.score.value:g}", "VE-CAM-S, automatic", high))
    boxes = [
        Callout(flag.text + (f" ({flag.where})" if flag.where else ""), (), LOOKS[flag.severity])
        for flag in result.flags
    ]
    care = Callout("For research only", ("Nothing on this page is advice for a patient; a person must read the EEG.",),
                   "caution")  # fmt: skip
    table = None
    if len(data.findings):
        table = builder.table(
            data.findings, "Findings of the automatic reading", show={"prevalence": lambda v: fmt.percent(v)},
            note="Share of the windows that show it; there from a tenth on. Absent sleep features, reactivity and "
            "delta brush are not looked for; bilateral independent periodic discharges (BiPD) were, and cannot be told "
            "(AUROC 0.45): no finding rests on them. Agreement with experts is in the documentation.", fold=False,
            row_heads=True,
        )  # fmt: skip
    lead = "What the recording shows by rule, and what a reader of the numbers must know about it."
    return Section("glance", "At a glance", lead, blocks_of(Facts(tuple(facts)), boxes, care, table))


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.1f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def _course(builder: Builder, data: EegPage) -> Section:
    windows = data.result.windows
    length = float((windows["stop_s"] - windows["start_s"]).max())
    course: object = absent("No course", "The recording is shorter than four windows.")
    if len(windows) >= draw.LEAST_WINDOWS:
        course = builder.picture(
            draw.fig_spectrogram(data.result.spectrogram, data.windows_with, length), "Spectrogram and findings",
            "Power of the median channel by time and frequency; beneath it the windows that show each finding.",
            "Heat map of power by time and frequency above bars that mark when findings were there.",
        )  # fmt: skip
    maps = builder.picture(
        draw.fig_topography(data.result.topography), "Share of each band over the head",
        "Average reference, median over windows; seen from above, nose up, dots are electrodes.",
        "Four heads coloured by the share of delta, theta, alpha and beta power.",
    )  # fmt: skip
    return Section("course", "Course and maps", "When and where.", blocks_of(course, maps))


def _traces(builder: Builder, data: EegPage) -> Section:
    lead = "The window with the highest score of its own, in the longitudinal bipolar montage."
    if data.shown is None:
        return Section("traces", "Traces", lead, blocks_of(absent("No window to show")))
    scene, marks = data.shown
    picture = builder.picture(
        draw.fig_traces(scene, marks), f"Traces from {scene.window.start_s:.0f} to {scene.window.stop_s:.0f} s",
        "Thin lines mark discharges that resemble each other; grey stretches were left out as artefact.",
        "EEG traces of one window.",
    )  # fmt: skip
    return Section("traces", "Traces", lead, blocks_of(picture))


def _features(builder: Builder, data: EegPage) -> Section:
    heads = {"iqr": "IQR over time", "low": "10th", "high": "90th percentile"}
    table = builder.table(data.features, "Features", names=heads, fold=False, row_heads=True,
                          note="Median over windows; the spread is that over time, not an error.")  # fmt: skip
    return Section("features", "Features", "Every number that goes into the cohort.", blocks_of(table))


def _left_out(builder: Builder, data: EegPage) -> Section:
    result = data.result
    channels = pd.DataFrame(
        [(name, "whole recording", why) for name, why in result.survey.left_out.items()],
        columns=["channel", "seconds", "reason"],
    )  # fmt: skip
    stretches = pd.DataFrame(columns=["channel", "seconds", "reason"])
    if len(result.left_out):
        frame = result.left_out
        spans = [f"{a:.0f}–{b:.0f}" for a, b in zip(frame["start_s"], frame["stop_s"], strict=True)]
        stretches = frame[["channel", "reason"]].assign(seconds=spans)[["channel", "seconds", "reason"]]
    frame = pd.concat([channels, stretches], ignore_index=True)
    lead = "Seconds and channels that no number rests on, with the reason."
    block = builder.table(frame, "Left out", file="left_out.parquet") if len(frame) else absent("Nothing was left out")
    return Section("left-out", "What was left out", lead, blocks_of(block))
