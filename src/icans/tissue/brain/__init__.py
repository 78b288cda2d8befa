"""A piece of brain: capillaries, glia, neurons and T cells of a region, driven by what blood and barrier do."""
