"""Exports as files: what is exported, here or at an address, and how it is written."""
