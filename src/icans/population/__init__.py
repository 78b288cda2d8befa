"""Virtual patients: who they are, how they differ, how they are cared for, and how they meet published trials.

Everything made here is synthetic: no row is a patient, and nothing that comes out of it is evidence of anything.
"""
