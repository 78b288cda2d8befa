"""The models of the ladder, one idea a file."""
