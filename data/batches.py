"""How many items a network is shown at once where neither a setting nor its own module says."""

BATCH = 32
"""Images or texts; the maps of so many small images stay in a processor's cache."""
LONG_BATCH = 8
"""What is long: sequences of faces, windows and pieces of sound."""
