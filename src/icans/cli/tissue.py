"""``icans tissue``: a piece of tissue with cells and cytokines, simulated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icans.cli.options import Json, Output, Overwrite, Quiet, ShardText, Where, Workers
from icans.cli.shell import answer, guarded

tissue = typer.Typer(name="tissue", help="A piece of tissue: cells and cytokines, simulated.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="The run (TOML).")]


@tissue.command()
def run(
    file: File,
    output: Output = None,
    overwrite: Overwrite = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not take up an interrupted run.")] = False,
    workers: Workers = None,
    executor: Where = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Replicates of a tissue: counts, cells and fields in time, figures, an animation. An interrupted run goes on."""
    with guarded(json, quiet):
        from icans.study.tissue_run import tissue_run

        report = tissue_run(file, output, overwrite=overwrite, fresh=fresh, workers=workers, executor=executor)
        answer(report.as_dict(), report.text(), json)


@tissue.command()
def sweep(
    file: File,
    method: Annotated[str, typer.Option(help="morris (screening), sobol (shares of variance) or random.")] = "morris",
    size: Annotated[int, typer.Option(min=2, help="Trajectories (morris), or base samples (sobol, random).")] = 10,
    output: Output = None,
    overwrite: Overwrite = False,
    workers: Workers = None,
    executor: Where = None,
    shard: ShardText = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Which parameters move what: the sweep tables of the file, over their ranges."""
    with guarded(json, quiet):
        if shard is not None:
            from icans.study.tissue_sweep_shards import sweep_shard

            part = sweep_shard(file, shard, output, method=method, size=size, executor=executor)
            answer(part.as_dict(), part.text(), json)
            return
        from icans.study.tissue_sweep import tissue_sweep

        report = tissue_sweep(
            file, output, method=method, size=size, overwrite=overwrite, workers=workers, executor=executor
        )
        answer(report.as_dict(), report.text(), json)


@tissue.command("import")
def import_(
    config: Annotated[Path, typer.Argument(help="A PhysiCell configuration (PhysiCell_settings.xml).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The run to write (TOML).")] = Path("tissue.toml"),
    json: Json = False,
) -> None:
    """A PhysiCell configuration with its rules as a run of ours; tells what could not be taken over."""
    with guarded(json, True):
        from icans.tissue.run.physicell import import_physicell

        found = import_physicell(config, output)
        text = "\n".join([f"{output}: {found.kinds} kinds, {found.rules} rules", *(f"  {n}" for n in found.notes)])
        answer({"ok": True, "file": str(output), "notes": list(found.notes)}, text, json)


@tissue.command()
def export(
    results: Annotated[Path, typer.Argument(help="A replicate of a run (replicate-….zarr).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files.")] = Path("physicell_output"),
    json: Json = False,
) -> None:
    """Frames of a run as PhysiCell output (MultiCellDS XML with .mat files), which pcdl and Studio read."""
    with guarded(json, True):
        from icans.tissue.run.multicellds import export_multicellds

        files = export_multicellds(results, output)
        answer({"ok": True, "files": [str(f) for f in files]}, f"{len(files)} frames in {output}", json)
