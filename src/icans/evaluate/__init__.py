"""How good is a forecast: discrimination, calibration, net benefit, uncertainty, sample size, leakage audit.

Conventions of every module: ``time`` is the time from the landmark to the event, competing event or censoring;
``event`` is 0 (censored), 1 (event) or 2 (competing event); ``risk`` is the forecast probability of the event by
``horizon``. ``weights`` are frequency weights: one row of shape (n,), or one row for each resample of shape (B, n);
with the latter, a function gives one result for each resample. What cannot be estimated in a resample is NaN.
"""
