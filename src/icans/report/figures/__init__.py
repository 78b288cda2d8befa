"""Figures, one file an idea: ``fig_*(data) -> matplotlib Figure``. Each can be used without a report."""
