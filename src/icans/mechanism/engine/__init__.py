"""The compiled engine: kernels generated from the model, and the solver that calls them."""
