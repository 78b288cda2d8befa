"""Nonlinear mixed effects: a population of individuals described by one structural model.

:mod:`~icans.population.nlme.model` declares it, :mod:`~icans.population.nlme.records` holds what was observed,
:mod:`~icans.population.nlme.likelihood` says how probable it is; the estimators are in :mod:`icans.population.fit`.
"""
