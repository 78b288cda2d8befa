"""EEG: a file of any usual format in, features with a record of what was left out, and scores out."""
