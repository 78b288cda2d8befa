"""The command line. Each command is a thin face: it reads options, calls the package, and tells the result.

Exit codes: 0 done; 1 an unforeseen error; 2 bad input or configuration (every problem is listed); 130 interrupted.
Progress and messages go to stderr, results to stdout; with ``--json`` stdout is one JSON document.
"""

from __future__ import annotations


def main() -> None:
    """Entry point of the ``icans`` command."""
    from icans.cli.app import app

    app()
