"""Dyad beside what others publish in packages with weights."""
