"""How our own networks for faces are trained."""
