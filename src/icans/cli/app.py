"""The commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icans.cli.eeg import eeg
from icans.cli.emulate import emulate
from icans.cli.loop import loop
from icans.cli.merge import merge
from icans.cli.mri import mri
from icans.cli.options import Json, Output, Overwrite, Quiet, ShardText, Where, Workers
from icans.cli.shell import answer, guarded
from icans.cli.strategies import strategies
from icans.cli.tissue import tissue
from icans.cli.trial import trial
from icans.cli.whatif import whatif

app = typer.Typer(
    name="icans",
    help="Predicting and preventing ICANS, the neurotoxicity of CAR T-cell therapy. Research use only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # the list of commands in plain text: half the time to start
)


def _version(wanted: bool) -> None:
    if wanted:
        from icans.core.provenance import package_version

        typer.echo(f"icans {package_version()}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that every command shares."""


@app.command()
def run(
    study: Annotated[
        str, typer.Argument(help="A study file (TOML), a cohort folder, or the name of a public data set.")
    ],
    output: Output = None,
    overwrite: Overwrite = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not take up an interrupted run.")] = False,
    workers: Workers = None,
    executor: Where = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Cohort in, results folder with report.html out. An interrupted run is taken up where it stopped."""
    with guarded(json, quiet):
        from icans.study.main import run_study
        from icans.study.source import study_for

        result = run_study(
            study_for(study), output=output, overwrite=overwrite, fresh=fresh, workers=workers, executor=executor
        )
        answer(result.as_dict(), result.text(), json)


@app.command()
def demo(
    output: Output = None,
    patients: Annotated[int, typer.Option(min=60, max=20_000, help="Synthetic patients.")] = 180,
    seed: Annotated[int, typer.Option(min=0)] = 20240201,
    workers: Workers = None,
    executor: Where = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The main job on a synthetic cohort, labelled so everywhere."""
    with guarded(json, quiet):
        from icans.study.main import run_study
        from icans.study.source import demo_study

        result = run_study(
            demo_study(patients, seed), output=output or Path("results/demo"), overwrite=True, workers=workers,
            executor=executor,
        )  # fmt: skip
        answer(result.as_dict(), result.text(), json)


@app.command()
def train(
    cohort: Annotated[str, typer.Argument(help="A study file (TOML), a cohort folder, or the name of a data set.")],
    model: Annotated[str, typer.Option(help="Which model; `icans models` lists them.")] = "cox_last",
    task: Annotated[str | None, typer.Option(help="What to forecast (default: any ICANS).")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The model file.")] = None,
    refits: Annotated[int, typer.Option(min=0, max=1000, help="Bootstrap refits; with none, no intervals.")] = 50,
    despite_audit: Annotated[bool, typer.Option("--despite-audit", help="Train though the audit declines.")] = False,
    overwrite: Overwrite = False,
    workers: Workers = None,
    executor: Where = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a model on a cohort and write it to one file, with its validation and the audit's word inside."""
    with guarded(json, quiet):
        from icans.study.source import study_for
        from icans.study.training import train_model

        result = train_model(
            study_for(cohort), model=model, task=task, output=output, refits=refits, despite_audit=despite_audit,
            overwrite=overwrite, workers=workers, executor=executor,
        )  # fmt: skip
        answer(result.as_dict(), result.text(), json)


@app.command()
def models(json: Json = False) -> None:
    """The models that can be trained, simplest first."""
    with guarded(json, True):
        from icans.forecast.catalogue import model_names, recipe

        described = {name: recipe(name).rung.description for name in model_names()}
        answer({"ok": True, "models": described}, "\n".join(f"{n:28} {d}" for n, d in described.items()), json)


@app.command()
def forecast(
    model: Annotated[Path, typer.Argument(help="A model file made by `icans train`.")],
    cohort: Annotated[str, typer.Argument(help="A cohort, as for `icans run`.")],
    at: Annotated[
        float | None, typer.Option("--at", help="Day of the forecast (default: each patient's newest data).")
    ] = None,
    patient: Annotated[list[str] | None, typer.Option(help="Only this patient. Repeatable.")] = None,
    output: Output = None,
    overwrite: Overwrite = False,
    registry: Annotated[Path | None, typer.Option("--seal", help="Seal the forecasts in this registry.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Forecasts with intervals, reasons and warnings for each patient, from what was known by then."""
    with guarded(json, quiet):
        from icans.study.applying import forecast_cohort

        result = forecast_cohort(
            model, cohort, at_d=at, patients=patient, output=output, overwrite=overwrite, registry=registry
        )
        answer(result.as_dict(), result.text(), json)


@app.command()
def validate(
    model: Annotated[Path, typer.Argument(help="A model file made by `icans train`.")],
    cohort: Annotated[str, typer.Argument(help="A cohort that did not train it, as for `icans run`.")],
    output: Output = None,
    overwrite: Overwrite = False,
    bootstrap: Annotated[int, typer.Option(min=50, help="Resamples of patients behind the intervals.")] = 500,
    workers: Workers = None,
    executor: Where = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge a trained model on other patients: discrimination, calibration, net benefit, groups, recalibration."""
    _judge([model], cohort, output or Path("results/validation"), overwrite, bootstrap, workers, executor, json, quiet)


@app.command()
def compare(
    cohort: Annotated[str, typer.Argument(help="A cohort that trained none of the models, as for `icans run`.")],
    files: Annotated[list[Path], typer.Argument(help="Model files of one task; differences are from the first.")],
    output: Output = None,
    overwrite: Overwrite = False,
    bootstrap: Annotated[int, typer.Option(min=50, help="Resamples of patients behind the intervals.")] = 500,
    workers: Workers = None,
    executor: Where = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge several trained models on the same patients, with paired differences from the first."""
    _judge(files, cohort, output or Path("results/comparison"), overwrite, bootstrap, workers, executor, json, quiet)


def _judge(
    files: list[Path], cohort: str, output: Path, overwrite: bool, bootstrap: int, workers: int | None,
    executor: str | None, json: bool, quiet: bool,
) -> None:  # fmt: skip
    with guarded(json, quiet):
        from icans.study.validation import validate_models

        result = validate_models(
            files, cohort, output=output, overwrite=overwrite, bootstrap=bootstrap, workers=workers, executor=executor
        )
        answer(result.as_dict(), result.text(), json)


@app.command()
def registry(
    folder: Annotated[Path, typer.Argument(help="A registry that `icans forecast --seal` has written.")],
    outcomes: Annotated[str | None, typer.Option(help="Score the sealed forecasts against this cohort.")] = None,
    head: Annotated[str | None, typer.Option(help="A published head that the registry must still contain.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Verify a registry of sealed forecasts, and score them once outcomes are known. Exit code 2 when it is broken."""
    with guarded(json, quiet):
        from icans.study.sealed import registry_report

        result = registry_report(folder, outcomes=outcomes, head=head)
        answer(result.as_dict(), result.text(), json)
        if not result.intact:
            raise typer.Exit(2)


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="A cohort folder, a bundle, a table, in any format that can be read.")],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List every problem of every file at once. Exit code 2 when there are errors."""
    with guarded(json, quiet):
        from icans.study.source import check_source

        report = check_source(path)
        answer(report.as_dict(), report.text(), json)
        if not report.ok:
            raise typer.Exit(2)


@app.command()
def grade(
    path: Annotated[Path, typer.Argument(help="A cohort with bedside findings (table assessments).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="CSV file for the daily grades.")],
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Grade bedside findings under every scheme that they allow."""
    with guarded(json, quiet):
        from icans.study.grade import grade_file

        result = grade_file(path, output, overwrite=overwrite)
        answer(result.as_dict(), result.text(), json)


@app.command()
def simulate(
    scenario: Annotated[Path | None, typer.Argument(help="A scenario file (TOML); without it, flags alone.")] = None,
    product: Annotated[str | None, typer.Option(help="The CAR T product, e.g. axi-cel.")] = None,
    disease: Annotated[str | None, typer.Option(help="The disease, e.g. LBCL.")] = None,
    patients: Annotated[int | None, typer.Option("--patients", "-n", help="Virtual patients (1: the typical).")] = None,
    regimen: Annotated[
        list[str] | None, typer.Option(help="An arm: a regimen, several joined by +, or none. Repeat it to compare.")
    ] = None,
    dose: Annotated[
        list[str] | None, typer.Option(help="E.g. 'tocilizumab 8 mg/kg day 2 over 1 h'. Repeatable.")
    ] = None,
    care: Annotated[str | None, typer.Option(help="Supportive care: none, early, modern.")] = None,
    covariate: Annotated[list[str] | None, typer.Option(help="Held the same in all, e.g. age_y=71.")] = None,
    parameter: Annotated[list[str] | None, typer.Option("--set", help="A parameter, e.g. car_rho=0.04.")] = None,
    days: Annotated[float | None, typer.Option(help="Days simulated (30).")] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads (default: every core). Not the result.")] = None,
    executor: Where = None,
    shard: ShardText = None,
    names: Annotated[bool, typer.Option("--list", help="Products, diseases, regimens and drugs, then end.")] = False,
    output: Output = None,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The patient model: one patient, a population, or regimens compared. All results are synthetic."""
    with guarded(json, quiet):
        if names:
            from icans.study.simulate_names import listing, listing_text

            answer(listing(), listing_text(), json)
            return
        from icans.study.simulate import simulate_scenario
        from icans.study.simulate_flags import command_line, scenario_of

        wanted = scenario_of(
            scenario,
            simulation={"days": days, "seed": seed},
            patients={"product": product, "disease": disease, "n": patients, "care": care},
            regimens=regimen or (), doses=dose or (), covariates=covariate or (), parameters=parameter or (),
        )  # fmt: skip
        if shard is not None:
            from icans.study.simulate_shards import simulate_shard

            part = simulate_shard(wanted, shard, output=output, threads=threads, executor=executor)
            answer(part.as_dict(), part.text(), json)
            return
        result = simulate_scenario(
            wanted, output=output, overwrite=overwrite, threads=threads, executor=executor, command=command_line()
        )
        answer(result.as_dict(), result.text(), json)


@app.command()
def fit(
    file: Annotated[Path, typer.Argument(help="The file of a fit (TOML): data, model, parameters, estimator.")],
    output: Output = None,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit a population model (nonlinear mixed effects); results folder with fit.html out."""
    with guarded(json, quiet):
        from icans.study.fit import run_fit
        from icans.study.fit_config import read_fit_config
        from icans.study.simulate_flags import command_line

        result = run_fit(read_fit_config(file), output=output, overwrite=overwrite, command=command_line(),
                         folder_of_file=file.parent)  # fmt: skip
        answer(result.as_dict(), result.text(), json)


@app.command()
def datasets(
    name: Annotated[str | None, typer.Argument(help="A data set; without it, the list.")] = None,
    fetch: Annotated[bool, typer.Option("--fetch", help="Download it into the cache (the licence is shown).")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Public data sets: what they hold, their licences, their traps; and how to get them."""
    with guarded(json, quiet):
        from icans.study.source import show_datasets

        value, text = show_datasets(name, fetch=fetch)
        answer(value, text, json)


for command in (strategies, whatif, loop, trial, emulate, merge, eeg, mri):
    app.command()(command)
app.add_typer(tissue)
