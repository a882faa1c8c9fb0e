"""Emotions of voices: our own network, audio classifiers, speech encoders with a head."""
