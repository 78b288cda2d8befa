"""``python -m icans.cli``."""

from icans.cli import main

main()
