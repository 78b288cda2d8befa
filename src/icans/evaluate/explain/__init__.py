"""What a forecast rests on: contributions, importance, their stability, rules, and reasons in words.

None of it speaks of causes: a feature that a forecast rests on need not be what brings the event about, and changing
it need not change anything.
"""
