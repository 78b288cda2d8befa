"""Bedside findings to grades, under every scheme, and between schemes where only a grade was kept.

One file a scheme; each is a pure function of :class:`icans.harmonize.grading.findings.Findings`. Rules that
are tables live in ``rules.toml`` with their source and whether they were read or recalled.
"""
