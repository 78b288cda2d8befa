"""Prevention: strategies, what-if, closed loop and virtual trials."""
