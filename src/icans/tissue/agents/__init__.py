"""Cells of a piece of tissue: they move, push, secrete, divide, kill and die by rules, on a field of cytokines."""
