"""Bring delivered tables to one footing: units, assays, batches, grades, gaps."""
