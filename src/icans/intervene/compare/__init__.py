"""Strategies compared on the same virtual patients: toxicity and efficacy, value of a result and of its speed."""
