"""The table of downloadable models, where they come from, and what lies on this machine."""
