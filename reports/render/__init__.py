"""The video with its answer drawn in."""
