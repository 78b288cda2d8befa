"""ICANS or TIAN: what the findings speak for, as odds with their evidence, and "cannot tell" as an answer.

Not validated: no data set of both exists. Priors and likelihoods are cited where a figure was read and assumed
otherwise; the table says which.
"""
