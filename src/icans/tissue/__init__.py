"""Tissue: cytokine fields and cell agents in a piece of brain."""
