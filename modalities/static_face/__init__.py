"""Single faces: our own network, and image classifiers."""
