"""The mechanistic block: what the patient model makes of everything known of a patient so far."""
