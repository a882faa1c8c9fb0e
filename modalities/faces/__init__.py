"""Faces in a clip: found, tracked, cropped, and gathered by window."""
