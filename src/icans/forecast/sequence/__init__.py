"""Models of sequences: networks that read the stream of events as it is, irregular and incomplete.

Networks are pure functions of plain dictionaries of arrays, written once over an array library: JAX gives gradients and
compiled training steps (extra ``deep``), NumPy runs the same functions for forecasts, so that a fitted network needs
neither JAX nor compilation to be used.
"""
