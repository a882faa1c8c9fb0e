"""Zero-shot labels of the scene by CLIP."""
