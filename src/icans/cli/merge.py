"""``icans merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icans.cli.shell import answer, guarded


def merge(
    folder: Annotated[Path, typer.Argument(help="The folder of parts that commands with --shard have written.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the results.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace earlier results in that folder.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Answer with one JSON document on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
) -> None:
    """The parts of an array job together: the results of the same command without --shard, to the byte."""
    with guarded(json, quiet):
        from icans.study.merge import merge_parts
        from icans.study.simulate_flags import command_line

        result = merge_parts(folder, output=output, overwrite=overwrite, command=command_line())
        answer(result.as_dict(), result.text(), json)
