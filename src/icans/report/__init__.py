"""The report: one self-contained HTML file from what a study found, with its tables and figures.

:func:`icans.report.render.write_report` writes it from a :class:`icans.report.model.ReportData`;
:mod:`icans.report.tables` and :mod:`icans.report.atlas` compute what it shows, and every figure of
:mod:`icans.report.figures` can be drawn alone.
"""
