"""Is a population model true to its data: residuals, visual predictive checks, distribution errors, random effects."""
