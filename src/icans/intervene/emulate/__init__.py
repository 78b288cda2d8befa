"""A trial that was never run, from patients that were only watched: clone, censor, weight; with its limits."""
