"""Population fits: a file of a fit in, a results folder with a page out (``icans fit``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from icans.core.errors import ConfigError, Problem
from icans.core.files import atomic_folder, slug
from icans.core.progress import stage
from icans.core.provenance import now, versions
from icans.population.fit.result import Fit, write_fit
from icans.report import format as fmt
from icans.report.model import RunInfo
from icans.report.population import PopulationData, write_population
from icans.study.fit_build import FitData, make_model, read_data
from icans.study.folder import check_target, write_mark, write_tables

if TYPE_CHECKING:
    from icans.population.diagnose.vpc import Vpc
    from icans.population.nlme.model import NlmeModel
    from icans.study.fit_config import FitConfig

#: The page of a results folder.
PAGE = "fit.html"


@dataclass(frozen=True)
class Diagnosed:
    """A fit and everything that is shown of it, before it is written; ``draws``: of the posterior, if sampled."""

    fit: Fit
    predictions: pd.DataFrame
    checks: Mapping[str, Vpc]
    errors: pd.DataFrame
    error_tests: pd.DataFrame
    covariates: pd.DataFrame | None
    influence: pd.DataFrame | None
    extra: Mapping[str, pd.DataFrame]
    draws: pd.DataFrame | None
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class FitResult:
    """Where the results lie, and what a reader should know first."""

    folder: Path
    fit: Fit
    sentences: tuple[str, ...]
    seconds: Mapping[str, float]

    @property
    def page(self) -> Path:
        """The page."""
        return self.folder / PAGE

    def as_dict(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        return {
            "ok": self.fit.converged, "folder": str(self.folder), "page": str(self.page),
            "sentences": list(self.sentences), "seconds": {k: round(v, 3) for k, v in self.seconds.items()},
            "estimates": self.fit.table().replace({np.nan: None}).to_dict("records"),
        }  # fmt: skip

    def text(self) -> str:
        """The result for people."""
        table = self.fit.table()
        lines = [f"  {r.name:<28} {fmt.number(r.value, 4):>12}  (SE {fmt.number(r.se, 4)})" for r in table.itertuples()]
        return "\n".join([*self.sentences, *lines, f"page: {self.page}"])


def estimate(model: NlmeModel, data: FitData, config: FitConfig) -> tuple[Fit, pd.DataFrame | None, dict[str, Any]]:
    """The fit, draws of the posterior (full Bayes alone), and further tables by title.

    Raises
    ------
    ModelError
        What the estimator refuses.
    ConfigError
        Settings that the estimator does not have.
    """
    section = config.fit
    if section.method == "saem":
        from icans.population.fit.saem import SaemSettings, fit_saem

        chosen = _settings(SaemSettings, section.settings)
        return fit_saem(model, data.records, seed=section.seed, settings=chosen), None, {}
    if section.method == "nuts":
        from icans.population.fit.nuts import fit_nuts

        done = fit_nuts(model, data.records, section.seed, **_known(NUTS, section.settings))
        return done.fit, done.table, {"Posterior": done.summary}
    from icans.population.fit.focei import FoceiSettings, fit_focei

    asked: dict[str, Any] = {"method": section.method, "seed": section.seed, **section.settings}
    if not section.standard_errors:
        asked["covariance"] = "none"
    return fit_focei(model, data.records, settings=_settings(FoceiSettings, asked)), None, {}


NUTS = ("chains", "draws", "tune", "accept", "depth", "centred", "cores")


def _known(names: tuple[str, ...], given: Mapping[str, Any]) -> dict[str, Any]:
    wrong = [n for n in given if n not in names]
    if wrong:
        expected = f"one of {', '.join(names)}"
        raise ConfigError(
            [Problem("fit", None, f"fit.settings.{n}", str(given[n]), expected, "Remove it.") for n in wrong]
        )
    return dict(given)


def _settings(kind: type[Any], given: Mapping[str, Any]) -> Any:
    return replace(kind(), **_known(tuple(kind.__dataclass_fields__), given))


def diagnose(model: NlmeModel, data: FitData, config: FitConfig) -> Diagnosed:
    """Fit a model and look at it from every side."""
    from icans.population.diagnose.effects import effect_covariates
    from icans.population.diagnose.npde import npde, npde_tests
    from icans.population.diagnose.predictions import predictions
    from icans.population.diagnose.vpc import vpc

    section, seconds = config.fit, {}
    clock = perf_counter()
    with stage(f"fitting by {section.method}: {fmt.plural(len(data.records), 'subject')}"):
        fit, draws, extra = estimate(model, data, config)
    seconds["estimation"] = perf_counter() - clock
    clock = perf_counter()
    with stage("predictions and residuals"):
        table = predictions(fit, data.records)
    checks: Mapping[str, Vpc] = {}
    if section.vpc_replicates:
        with stage("visual predictive checks"):
            checks = vpc(fit, data.records, section.seed, bins=section.bins, replicates=section.vpc_replicates)
    errors, tests = pd.DataFrame(), pd.DataFrame()
    if section.npde_replicates and table["iwres"].notna().any():
        with stage("prediction distribution errors"):
            errors = npde(fit, data.records, section.seed, replicates=section.npde_replicates)
            tests = npde_tests(errors)
    names = sorted({name for s in data.records.subjects for name in s.covariates})
    seen = effect_covariates(fit, data.records, names) if names and fit.model.varying else None
    seconds["diagnostics"] = perf_counter() - clock
    return Diagnosed(fit, table, checks, errors, tests, seen, _influence(fit, data), extra, draws, seconds)


def _influence(fit: Fit, data: FitData) -> pd.DataFrame | None:
    """Influential subjects, where the estimator's own scores are at hand."""
    from icans.population.diagnose.effects import influence

    if fit.covariance is None or fit.likelihood not in ("focei", "laplace"):
        return None
    from icans.population.fit.focei import objective_of

    objective = objective_of(fit.model, data.records, method=fit.likelihood, population=fit.population)
    point = objective.point(fit.vector)
    return influence(fit, -0.5 * objective.subject_gradients(point))


def run_fit(
    config: FitConfig, *, output: Path | str | None = None, overwrite: bool = False, command: str = "",
    folder_of_file: Path | None = None,
) -> FitResult:  # fmt: skip
    """Fit, diagnose, and write the results folder: run.json, fit.json, tables/*.parquet, fit.html.

    Parameters
    ----------
    output
        Results folder; ``results/<name>`` by default. ``overwrite`` replaces an earlier one, never another folder.
    folder_of_file
        Where relative paths of the configuration begin.

    Raises
    ------
    FileExistsError
        The folder exists and may not be replaced; told before anything is read.
    DataError, ModelError, ConfigError
        Every problem of the data, the model or the settings.
    """
    folder = Path(output) if output is not None else Path("results") / slug(config.fit.name, "fit")
    check_target(folder, overwrite)
    started = now()
    data = read_data(config, folder_of_file or Path())
    model = make_model(config)
    done = diagnose(model, data, config)
    words = sentences(done.fit, data)
    with stage("writing the results"), atomic_folder(folder, overwrite=overwrite) as temporary:
        write_tables(temporary, _tables(done, data), data.synthetic)
        write_fit(done.fit, temporary / "fit.json")
        info = RunInfo(
            config=_json(config), command=command, seed=config.fit.seed, started=started, finished=now(),
            versions=versions(), inputs=data.inputs, seconds=done.seconds,
            facts={"Records": done.fit.data_digest[:16], "Likelihood": done.fit.likelihood},
        )  # fmt: skip
        page = PopulationData(
            config.fit.name, config.fit.question, done.fit, {o.name: o.unit for o in config.observable},
            done.predictions, done.checks, done.errors, done.error_tests, done.covariates, done.influence, done.extra,
            data.notes, info, is_synthetic=data.synthetic,
        )  # fmt: skip
        write_population(page, temporary / PAGE)
        told = {"fit": config.as_dict(), "sentences": list(words), "notes": list(data.notes)}
        write_mark(temporary, told, info, data.synthetic)
    return FitResult(folder, done.fit, words, done.seconds)


def _tables(done: Diagnosed, data: FitData) -> dict[str, pd.DataFrame]:
    from icans.population.diagnose.effects import effects_frame, outlying_subjects, shrinkage

    out = {"estimates": done.fit.table(), "predictions": done.predictions}
    if done.fit.model.varying:
        out["random_effects"] = effects_frame(done.fit)
        out["shrinkage"] = shrinkage(done.fit, done.predictions)
        out["outlying_subjects"] = outlying_subjects(done.fit, done.predictions)
    out |= {f"vpc_{slug(name, 'fit')}": check.table for name, check in done.checks.items()}
    if len(done.errors):
        out |= {"npde": done.errors, "npde_tests": done.error_tests}
    named = {"effect_covariates": done.covariates, "influence": done.influence, "draws": done.draws,
             "census": data.census}  # fmt: skip
    out |= {name: frame for name, frame in named.items() if frame is not None and len(frame)}
    return out | {slug(title, "fit"): frame for title, frame in done.extra.items()}


def sentences(fit: Fit, data: FitData) -> tuple[str, ...]:
    """What a reader should know first."""
    who = f"{fmt.plural(len(fit.subjects), 'subject')}, {fmt.plural(fit.observations, 'observation')}"
    label = "Synthetic data. " if data.synthetic else ""
    state = "converged" if fit.converged else "DID NOT CONVERGE"
    first = f"{label}{fit.method}: {who}; {state}; -2 log likelihood {fmt.number(fit.objective, 2)} ({fit.likelihood})."
    return (first, *fit.messages, *data.notes)


def _json(config: FitConfig) -> str:
    import json

    return json.dumps(config.as_dict(), indent=1)
