"""How many items a network is shown at once where neither a setting nor its own module says."""

BATCH = 32
