"""A run of tissue from a file: the file, the tissue at its start, replicates, what is written."""
