"""How our own network for words is trained."""
