"""``python -m icans``."""

from icans.cli import main

main()
