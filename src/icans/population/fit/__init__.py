"""Estimation of population models: stochastic approximation, linearisation, sampling; their uncertainty."""
