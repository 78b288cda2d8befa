"""Concentrations in a box of tissue: diffusion, decay, flow, exchange, sources and sinks of cells."""
