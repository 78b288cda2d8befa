"""Between the commands and the terminal: errors as lists of problems, answers as text or JSON."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from icans.core.errors import ConfigError, DataError, IcansError, ModelError, Problem
from icans.core.progress import set_quiet

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def answer(value: dict[str, Any], text: str, json: bool) -> None:
    """Tell a result: one JSON document, or text for people."""
    typer.echo(jsonlib.dumps(value, indent=2, allow_nan=False, default=str) if json else text)


@contextmanager
def guarded(json: bool, quiet: bool) -> Iterator[None]:
    """Turn errors that a user can mend into a complete list and exit code 2; interruption into 130."""
    set_quiet(quiet or json)
    try:
        yield
    except (DataError, ConfigError, ModelError) as error:
        _fail(list(error.problems), json)
    except (IcansError, FileExistsError, FileNotFoundError, KeyError) as error:
        message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        _fail([Problem("input", None, None, None, "input that can be used", message)], json, lines=[message])
    except KeyboardInterrupt:
        print("interrupted; the finished steps are kept, run the same command to go on", file=sys.stderr)
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _fail(problems: list[Problem], json: bool, lines: list[str] | None = None) -> None:
    if json:
        value = {"ok": False, "problems": [problem.as_dict() for problem in problems]}
        typer.echo(jsonlib.dumps(value, indent=2))
    else:
        count = len(problems)
        print(f"{count} problem{'' if count == 1 else 's'}:", file=sys.stderr)
        for line in lines or [str(problem) for problem in problems]:
            print(f"  {line}", file=sys.stderr)
    raise typer.Exit(EXIT_BAD_INPUT)
