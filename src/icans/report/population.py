"""The page of a population fit: estimates with their uncertainty, and whether the model is true to its data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from icans.core.files import write_text
from icans.population.diagnose import effects as eta
from icans.report import format as fmt
from icans.report.figures import population as draw
from icans.report.model import RunInfo
from icans.report.page import Builder, Bullets, Callout, Facts, Fold, Heading, PlainNames, Section, blocks_of
from icans.report.render import html_page
from icans.report.sections import run as run_section

if TYPE_CHECKING:
    from icans.population.diagnose.vpc import Vpc
    from icans.population.fit.result import Fit

#: Subjects whose fits are shown without opening a fold.
SHOWN = 10
#: Relative standard error (%) and correlation of estimates beyond which a parameter counts as poorly known.
POOR_RSE, POOR_CORRELATION = 50.0, 0.95
#: Headings of columns.
HEADS = {
    "sd_shrinkage": "Shrinkage (SD)", "var_shrinkage": "Shrinkage (variance)", "misleading": "Above 30%", "n": "n",
    "slope_per_sd": "Slope per SD", "se": "SE", "spearman": "Spearman's rho", "p": "p", "p_holm": "p (Holm)",
    "id": "Subject", "distance2": "Distance squared", "largest_iwres": "Largest |IWRES|", "cook": "Cook's distance",
    "most_moved": "Most moved estimate", "moved_se": "by (SE)", "mean_se": "SE of mean", "sd": "SD",
    "p_mean": "p, mean 0", "p_variance": "p, variance 1", "p_normal": "p, normal", "p_global": "p, all three",
}  # fmt: skip


@dataclass(frozen=True)
class PopulationData(PlainNames):
    """Everything that the page shows.

    ``predictions``, ``errors`` (NPDE) and ``error_tests``, ``checks`` (VPC): of :mod:`icans.population.diagnose`.
    ``covariates``: table of random effects against covariates. ``influence``: table of influential subjects, if known.
    ``extra``: further tables by title (bootstrap, profiles ...).
    """

    study: str
    question: str
    fit: Fit
    units: Mapping[str, str]
    predictions: pd.DataFrame
    checks: Mapping[str, Vpc]
    errors: pd.DataFrame
    error_tests: pd.DataFrame
    covariates: pd.DataFrame | None = None
    influence: pd.DataFrame | None = None
    extra: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    run: RunInfo = field(default_factory=RunInfo)
    tables_folder: str = "tables"
    is_synthetic: bool = False

    @property
    def observables(self) -> tuple[str, ...]:
        """Measured quantities, in the model's order."""
        found = set(self.predictions.loc[self.predictions["iwres"].notna(), "observable"])
        return tuple(o.name for o in self.fit.model.observed if o.name in found)


def render_population(data: PopulationData) -> str:
    """The page as HTML that needs nothing else."""
    builder = Builder(data)  # type: ignore[arg-type]  # it reads only what all kinds of data have
    made = [make(builder, data) for make in SECTIONS]
    who = f"{fmt.plural(len(data.fit.subjects), 'subject')} · {fmt.plural(data.fit.observations, 'observation')}"
    return html_page(
        [s for s in made if s is not None], title=data.study, kicker="icans population fit",
        subtitle=f"{data.fit.method} · {who}", synthetic=data.is_synthetic,
    )  # fmt: skip


def write_population(data: PopulationData, path: Path | str) -> Path:
    """Write the page; a reader never sees half a file. Returns the path."""
    write_text(path, render_population(data))
    return Path(path)


def _glance(builder: Builder, data: PopulationData) -> Section:
    fit = data.fit
    facts = [
        (fmt.whole(len(fit.subjects)), "Subjects", ""), (fmt.whole(fit.observations), "Observations", ""),
        (fmt.number(fit.objective, 2), "−2 log likelihood", fit.likelihood),
        (fmt.number(fit.objective_nonmem, 2), "without constants", "comparable with NONMEM and nlmixr2"),
    ]  # fmt: skip
    told = Callout("What the estimator noticed", fit.messages, "caution") if fit.messages else None
    ended = None if fit.converged else Callout("Not converged", ("Do not use these estimates as they are.",), "bad")
    care = Callout("For research only", ("Nothing on this page is advice for a patient.",), "caution")
    lead = data.question or "A population model, its parameters and how well it describes the data."
    return Section("glance", "At a glance", lead, blocks_of(
        Facts(tuple(facts)), ended, told, care, Bullets(data.notes) if data.notes else None,
    ))  # fmt: skip


def _estimates(builder: Builder, data: PopulationData) -> Section:
    table = data.fit.table()
    kinds = {
        "typical": "Typical values", "effect": "Effects of covariates", "sd": "Variability between subjects (SD)",
        "correlation": "Correlations of random effects", "observed": "Residual error and outcomes", "class": "Classes",
    }  # fmt: skip
    blocks: list[object] = []
    for kind, title in kinds.items():
        part = table[table["kind"] == kind]
        if len(part):
            shown = pd.DataFrame({
                "Parameter": part["name"], "Estimate": [fmt.number(v, 4) for v in part["value"]],
                "SE": [fmt.number(v, 4) for v in part["se"]], "RSE, %": [fmt.number(v, 1) for v in part["rse_pct"]],
                "95% interval": [_interval(a, b, f) for a, b, f in zip(part["low95"], part["high95"], part["fixed"])],
            })  # fmt: skip
            blocks.append(builder.table(shown, title, fold=False, row_heads=True))
    how = f" Standard errors: {data.fit.covariance_method}." if data.fit.covariance_method else ""
    lead = f"On natural scales; SDs and correlations are those of the parameters' own scales.{how}"
    return Section("estimates", "Estimates", lead, blocks_of(blocks, _poor(data, table)))


def _interval(low: float, high: float, fixed: bool) -> str:
    if fixed:
        return "fixed"
    return f"{fmt.number(low, 4)} to {fmt.number(high, 4)}" if np.isfinite(low) else "not known"


def _poor(data: PopulationData, table: pd.DataFrame) -> Callout | None:
    """What the data do not tell: large relative errors, pairs of estimates that cannot be told apart."""
    lines = [
        f"{r.name}: relative standard error {fmt.number(r.rse_pct, 0)}%"
        for r in table[table["kind"].isin(["typical", "sd"])].set_index("name").itertuples()
        if r.rse_pct > POOR_RSE
    ]
    cov = data.fit.covariance
    if cov is not None and len(cov) > 1:
        from icans.population.nlme.population import packing

        names = packing(data.fit.model, data.fit.population).names
        sd = np.sqrt(np.maximum(np.diag(cov), 1e-300))
        r = cov / np.outer(sd, sd)
        for i, j in zip(*np.nonzero(np.triu(np.abs(r) > POOR_CORRELATION, 1))):
            lines.append(f"{names[i]} and {names[j]}: correlation of estimates {r[i, j]:.2f}")
    return Callout("Poorly identified", tuple(lines), "caution") if lines else None


def _fits(builder: Builder, data: PopulationData) -> Section:
    blocks: list[object] = []
    for name in data.observables:
        unit = data.units.get(name, "")
        blocks += [
            Heading(name),
            builder.picture(
                draw.fig_gof(data.predictions, name, unit), f"Goodness of fit: {name}",
                "Dots: quantified observations. Dashed: identity. Grey band: ±1.96; brown: mean in sixths.",
                f"Observed against predicted {name} and residuals.",
            ),
        ]  # fmt: skip
        ids = list(dict.fromkeys(data.predictions.loc[data.predictions["observable"] == name, "id"]))
        for start in range(0, len(ids), 3 * SHOWN):
            some = ids[start : start + (SHOWN if start == 0 and len(ids) <= SHOWN else 3 * SHOWN)]
            picture = builder.picture(
                draw.fig_individuals(data.predictions, name, some, unit), f"Individual fits: {name}",
                "Line: own prediction; dashed: typical; dots: observed, open beyond a limit of the assay.",
                f"Course of {name} in single subjects.",
            )  # fmt: skip
            blocks.append(Fold(f"{name}: subjects {start + 1} to {start + len(some)}", (picture,)))
    return Section(
        "fits", "Goodness of fit", "Predictions against observations, subject by subject.", blocks_of(blocks)
    )


def _checks(builder: Builder, data: PopulationData) -> Section | None:
    if not data.checks:
        return None
    some = next(iter(data.checks.values()))
    corrected = " Observations and simulations are prediction-corrected." if some.corrected else ""
    table = pd.DataFrame({
        "Observable": list(data.checks), "Kind": [c.kind for c in data.checks.values()],
        "Statistics inside their band": [fmt.percent(c.inside) for c in data.checks.values()],
    })  # fmt: skip
    return Section("checks", "Visual predictive checks", "Would the model have given data like these?", blocks_of(
        builder.picture(
            draw.fig_vpcs(data.checks, data.units), "Predictive checks",
            "Lines with dots: 5th, 50th and 95th percentiles (or shares) of the observations; bands: 95% of the same "
            f"in {some.replicates} simulations of the same design.{corrected} A percentile that lies beyond a limit is "
            "not drawn.", "Observed percentiles on simulated bands, by observable.",
        ),
        builder.picture(
            draw.fig_limits(data.checks), "Values beyond a limit",
            "Share below (above) the limit of the assay by time.",
            "Observed and simulated shares beyond limits.",
        ),
        builder.table(table, "Coverage of the checks", fold=False),
    ))  # fmt: skip


def _errors(builder: Builder, data: PopulationData) -> Section | None:
    if data.errors.empty:
        return None
    numbers = ("p_mean", "p_variance", "p_normal", "p_global")
    show: dict[str, Callable[[float], str]] = {n: lambda v: fmt.number(v, 3) for n in numbers}
    return Section(
        "npde", "Prediction distribution errors", "Standard normal if the model is true.", blocks_of(
            builder.picture(
                draw.fig_npde(data.errors), "NPDE against normal quantiles",
                "Grey: pointwise 95% band. Values beyond a limit were given a random place below the model's "
                "probability of the limit.", "Quantile plots of prediction distribution errors.",
            ),
            builder.table(data.error_tests, "Tests", "Global p: three together (Bonferroni).", show=show,
                          fold=False, names=HEADS),
        ),
    )  # fmt: skip


def _effects(builder: Builder, data: PopulationData) -> Section | None:
    names = eta.effect_names(data.fit)
    if not names:
        return None
    frame = eta.effects_frame(data.fit)
    sd = {n: float(np.sqrt(data.fit.population.omega[j, j])) for j, n in enumerate(names)}
    shrunk = eta.shrinkage(data.fit, data.predictions)
    odd = eta.outlying_subjects(data.fit, data.predictions).head(10)
    lost = None
    if data.fit.effects.failed:
        lines = tuple(f"{who}: {why}" for who, why in data.fit.effects.failed.items())
        lost = Callout("Subjects whose random effects could not be found", lines, "bad")
    return Section("effects", "Random effects", "How subjects differ from the typical one.", blocks_of(
        lost,
        builder.picture(draw.fig_effects(frame, sd), "Random effects (EBEs)",
                        "Bars: subjects; line: the population's normal density. Narrow bars under a wide line: "
                        "shrinkage.", "Histograms of random effects."),
        builder.table(shrunk, "Shrinkage", "Plots against shrunken effects (above 30%) mislead.",
                      fold=False, names=HEADS),
        builder.picture(draw.fig_effect_correlation(frame, names), "Correlation of EBEs", "Between subjects.",
                        "Matrix of correlations.") if len(names) > 1 else None,
        None if data.covariates is None or data.covariates.empty else
        builder.table(data.covariates, "Random effects against covariates", fold=False, names=HEADS),
        builder.table(odd, "Most unusual subjects", fold=False, names=HEADS),
        None if data.influence is None else
        builder.table(data.influence.head(10), "Most influential subjects", "To first order.", fold=False, names=HEADS),
    ))  # fmt: skip


def _convergence(builder: Builder, data: PopulationData) -> Section | None:
    extra = [builder.table(table, title, fold=False) for title, table in data.extra.items()]
    if not data.fit.history and not extra:
        return None
    picture = builder.picture(
        draw.fig_convergence(data.fit.history), "Convergence", "Course of the estimates over iterations.",
        "Small panels, one per parameter.",
    )  # fmt: skip
    return Section("convergence", "Convergence and uncertainty", "", blocks_of(picture, extra))


def _run(builder: Builder, data: PopulationData) -> Section:
    return run_section.section(builder)


SECTIONS: Sequence[Callable[[Builder, PopulationData], Section | None]] = (
    _glance, _estimates, _fits, _checks, _errors, _effects, _convergence, _run,
)  # fmt: skip
