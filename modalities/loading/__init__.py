"""Checkpoints, devices, precision and batches: how networks get into memory and are fed."""
