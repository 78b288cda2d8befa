"""Trials before they are run: designs, how often each decides right and wrong, and the prespecified analysis."""
