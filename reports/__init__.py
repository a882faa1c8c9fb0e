"""What a person or another tool reads of a result. Knows nothing of how it was computed."""
