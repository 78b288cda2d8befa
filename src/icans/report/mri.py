"""The page of one MRI: slices with what was found, the burden of every region, and what a reader must know."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from icans.core.files import write_text
from icans.report import format as fmt
from icans.report.figures import mri as draw
from icans.report.model import RunInfo
from icans.report.page import Builder, Callout, Facts, PlainNames, Section, absent, blocks_of
from icans.report.render import html_page
from icans.report.sections import run as run_section
from icans.signals.mri.atlas import regions
from icans.signals.mri.measure import Measured

#: Looks of a flag by its severity.
LOOKS = {"note": "neutral", "doubt": "caution", "unusable": "bad"}
#: Columns of the region table that the page shows, and their heads.
HEADS = {
    "volume_ml": "Volume, mL", "flair_ml": "Bright on FLAIR, mL", "flair_share": "Share of region",
    "adc_low_share": "Low diffusion", "adc_high_share": "High diffusion", "enhancing_ml": "Enhancing, mL",
    "cbf": "Blood flow, mL/100 g/min",
}  # fmt: skip
WHOLE = {
    "fluid_change": "Fluid inside the skull, change from baseline",
    "ventricle_change": "Fluid near the ventricles, change from baseline",
    "sulcal_change": "Fluid over the surface, change from baseline",
    "near_tumour_share": "Share of lesions near the known tumour",
    "focality": "That share over the share of the brain there",
    "lesion_adc_low_share": "Low diffusion, share of lesions",
    "lesion_adc_high_share": "High diffusion, share of lesions",
}


@dataclass(frozen=True)
class MriPage(PlainNames):
    """Everything that the page shows."""

    study: str
    measured: Measured
    run: RunInfo = field(default_factory=RunInfo)
    tables_folder: str = "tables"
    is_synthetic: bool = False


def render_mri(data: MriPage) -> str:
    """The page as HTML."""
    builder = Builder(data)  # type: ignore[arg-type]  # a page of its own kind, as that of an EEG
    sections = [_glance(data), _slices(builder, data), _regions(builder, data), run_section.section(builder)]
    images = data.measured.result.about["images"]
    subtitle = f"{fmt.plural(len(images), 'image')} · lesions by {data.measured.result.about['lesions']}"
    return html_page(sections, title=data.study, kicker="icans mri", subtitle=subtitle, synthetic=data.is_synthetic)


def write_mri(data: MriPage, path: Path | str) -> Path:
    """Write the page; a reader never sees half a file. Returns the path."""
    write_text(path, render_mri(data))
    return Path(path)


def _glance(data: MriPage) -> Section:
    result = data.measured.result
    whole = result.table.set_index("region").loc["brain"]
    facts = [(f"{whole['volume_ml']:,.0f} mL", "Brain tissue", "inside the mask")]
    if "flair_ml" in whole:
        note = f"{whole['flair_ml_low']:.2f} to {whole['flair_ml_high']:.2f} over thresholds and borders"
        facts.append((f"{whole['flair_ml']:.2f} mL", "Bright tissue on FLAIR", note))
    boxes = [Callout(flag.text, (flag.where,) if flag.where else (), LOOKS[flag.severity]) for flag in result.flags]
    care = Callout(
        "For research only",
        ("No accuracy of lesion detection was measured on patients. A radiologist must read the images.",),
        "caution",
    )
    lead = "What was measured, and what a reader of the numbers must know about it."
    return Section("glance", "At a glance", lead, blocks_of(Facts(tuple(facts)), boxes, care))


def _slices(builder: Builder, data: MriPage) -> Section:
    picture = builder.picture(
        draw.fig_slices(data.measured), "Slices with regions and lesions",
        "Axial, the patient's right on the left; outlines are regions of the atlas in place, fill is what counts as "
        "lesion; heights in MNI space.",
        "Axial slices of the brain with outlined regions and marked lesions.",
    )  # fmt: skip
    return Section("slices", "Slices", "Where lesions and regions lie in this patient.", blocks_of(picture))


def _regions(builder: Builder, data: MriPage) -> Section:
    result = data.measured.result
    shown = [name for name in HEADS if name in result.table]
    labels = {**{r.name: r.label for r in regions()}, "brain": "Whole brain"}
    table = result.table[["region", *shown]].assign(region=[labels[name] for name in result.table["region"]])
    burden: object = absent("No FLAIR image and no mask of lesions")
    if "flair_ml" in result.table:
        burden = builder.picture(
            draw.fig_burden(result.table), "Bright tissue by region",
            "Lines span the thresholds tried and borders moved by 2 mm; they are no confidence interval.",
            "Bars of the volume of bright tissue in every region.",
        )  # fmt: skip
    heads = builder.table(table, "Regions", names=HEADS, fold=False, row_heads=True,
                          note="Ranges are in the file of the table.", file="regions.parquet")  # fmt: skip
    rows = [(label, result.whole[k], result.whole.get(f"{k}_low"), result.whole.get(f"{k}_high"))
            for k, label in WHOLE.items() if k in result.whole]  # fmt: skip
    others: object = None
    if rows:
        frame = pd.DataFrame(rows, columns=["measure", "value", "low", "high"])
        others = builder.table(frame, "Measures of the whole brain", fold=False, row_heads=True)
    return Section("regions", "Regions", "Every number that goes into the cohort.", blocks_of(burden, heads, others))
