"""``icans merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icans.cli.options import Json, Output, Overwrite, Quiet
from icans.cli.shell import answer, guarded


def merge(
    folder: Annotated[Path, typer.Argument(help="The folder of parts that commands with --shard have written.")],
    output: Output = None,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The parts of an array job together: the results of the same command without --shard, to the byte."""
    with guarded(json, quiet):
        from icans.study.merge import merge_parts
        from icans.study.simulate_flags import command_line

        result = merge_parts(folder, output=output, overwrite=overwrite, command=command_line())
        answer(result.as_dict(), result.text(), json)
