"""Trials before they are run: designs, how often each decides right and wrong, and the analysis as it is prespecified."""
