"""What if this patient were given a therapy: paired courses from the individual posterior."""
