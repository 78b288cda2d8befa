"""Concentrations of diffusing substances in a box of tissue: diffusion, decay, flow, exchange, cells' sources and sinks."""
