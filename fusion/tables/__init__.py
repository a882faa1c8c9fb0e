"""Fusing anybody's probabilities, given as tables."""
