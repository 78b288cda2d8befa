"""Forecasting: outcomes, features, the ladder of models, cross-validation, forecasts for single patients."""
