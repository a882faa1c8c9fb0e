"""How good every model is on data that its training never saw, and the curves behind it."""
