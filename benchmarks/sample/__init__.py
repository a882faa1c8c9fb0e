"""How the shipped sample clip was made: a public-domain portrait, animated, with a synthetic voice."""
