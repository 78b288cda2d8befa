"""Modules of the patient model: each declares its states, equations, handles and observables."""
