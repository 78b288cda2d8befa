"""MRI: volumes in, a table of brain regions out. It measures; it does not detect disease.

No accuracy of lesion detection is claimed: thresholds are set against the patient's own tissue, and only phantoms with
known truth were measured. Masks made elsewhere (a neuroradiologist, a trained network) are taken in their place.
"""
