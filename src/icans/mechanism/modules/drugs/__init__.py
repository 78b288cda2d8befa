"""Therapies, one module each: where doses go in, how the drug moves and leaves, what it does at which handle."""
