"""Signals of the brain as numbers: EEG recordings and MRI. Nothing in here knows a cohort."""
