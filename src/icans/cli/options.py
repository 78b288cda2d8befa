"""Options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Output = Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the results.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace earlier results in that folder.")]
Workers = Annotated[int | None, typer.Option("--workers", "-w", min=1, help="Processes (default: every core).")]
Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
#: Where the work is done; read by :func:`icans.core.execute.opened`.
Where = Annotated[
    str | None,
    typer.Option("--executor", help="serial, processes:N, dask:N, dask:ADDRESS or dask:FILE. Not the result."),
]
#: One shard of an array job; read by :func:`icans.core.shards.read_shard`.
ShardText = Annotated[
    str | None, typer.Option("--shard", help="Only part i/n, e.g. 3/8; `icans merge` puts the parts together.")
]
