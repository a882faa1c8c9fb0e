"""Emotions of words: our own network, and text classifiers."""
