"""How our own network for voices, and heads of speech encoders, are trained."""
