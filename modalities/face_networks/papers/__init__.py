"""One file a face network of the literature."""
