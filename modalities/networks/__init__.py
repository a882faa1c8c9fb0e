"""Network definitions in plain PyTorch: maths only, no files, no media."""
