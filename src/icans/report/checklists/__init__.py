"""Reporting checklists filled from a run: TRIPOD+AI items, a self-check after PROBAST+AI, the model card."""
