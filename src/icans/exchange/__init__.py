"""The patient model for other programs: SBML out and back in."""
