"""From one place or product to another: recalibration, updating with the old as prior, group effects."""
