"""icans: predicting and preventing ICANS, the neurotoxicity that follows CAR T-cell therapy.

Research use only: not a medical device, not for decisions on the care of a patient.
"""

from __future__ import annotations
