"""Strategies as data: planned doses and rules on what is known at the bedside, checked, and told in plain words."""
