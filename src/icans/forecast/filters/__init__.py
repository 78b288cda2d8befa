"""Filters: state-space and hidden-Markov models that follow a patient from day to day and look ahead."""
