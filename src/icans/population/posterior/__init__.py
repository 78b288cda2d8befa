"""The individual posterior: what is known of one patient at a landmark, and what follows from it."""
