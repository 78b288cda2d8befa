"""``icans strategies``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icans.cli.options import Json, Output, Overwrite, Quiet, ShardText, Where
from icans.cli.shell import answer, guarded


def strategies(
    file: Annotated[Path | None, typer.Argument(help="A comparison (TOML); without it, options alone.")] = None,
    strategy: Annotated[
        list[str] | None, typer.Option(help="A strategy of the library; the first is the reference. Repeatable.")
    ] = None,
    product: Annotated[str, typer.Option(help="The CAR T product, where there is no file.")] = "axi-cel",
    disease: Annotated[str, typer.Option(help="The disease, where there is no file.")] = "LBCL",
    patients: Annotated[int, typer.Option("--patients", "-n", min=2, help="Virtual patients, without a file.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Seed, where there is no file.")] = 20240201,
    names: Annotated[bool, typer.Option("--list", help="The strategies of the library, then end.")] = False,
    describe: Annotated[list[str] | None, typer.Option(help="A strategy in plain words, then end.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only read the file and tell it in words.")] = False,
    workers: Annotated[int | None, typer.Option("--workers", "-w", min=1, help="Processes (default: all).")] = None,
    executor: Where = None,
    shard: ShardText = None,
    output: Output = None,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Prophylaxis, pre-emptive and reactive therapy on the same virtual patients. All results are synthetic."""
    with guarded(json, quiet):
        from icans.study import strategies as study
        from icans.study.simulate_flags import command_line
        from icans.study.strategies_config import comparison_of, read_comparison

        if names:
            answer({"ok": True, "strategies": study.listing()}, study.listing_text(), json)
            return
        if describe:
            text = study.words(describe)
            answer({"ok": True, "words": text}, text, json)
            return
        if file is not None:
            wanted = read_comparison(file)
        else:
            chosen = strategy or [
                "guideline",
                "anakinra_prophylaxis",
                "anakinra_upon_fever",
                "dexamethasone_prophylaxis",
            ]
            wanted = comparison_of(chosen, product=product, disease=disease, patients=patients, seed=seed)
        if check:
            text = "\n\n".join(s.describe() for s in wanted.strategies.values())
            answer({"ok": True, "strategies": {n: s.describe() for n, s in wanted.strategies.items()}}, text, json)
            return
        if shard is not None:
            from icans.study.strategies_shards import strategies_shard

            part = strategies_shard(wanted, shard, output=output or Path("results/strategies"), executor=executor)
            answer(part.as_dict(), part.text(), json)
            return
        result = study.compare_strategies(wanted, output=output, overwrite=overwrite, workers=workers,
                                          executor=executor, command=command_line())  # fmt: skip
        answer(result.as_dict(), result.text(), json)
