"""Options that commands doing long work share."""

from __future__ import annotations

from typing import Annotated

import typer

#: Where the work is done; read by :func:`icans.core.execute.opened`.
Where = Annotated[
    str | None,
    typer.Option("--executor", help="serial, processes:N, dask:N, dask:ADDRESS or dask:FILE. Not the result."),
]
#: One shard of an array job; read by :func:`icans.core.shards.read_shard`.
ShardText = Annotated[
    str | None, typer.Option("--shard", help="Only part i/n, e.g. 3/8; `icans merge` puts the parts together.")
]
