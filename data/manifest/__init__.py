"""Tables of clips: read, checked, labelled, and kept inside their root."""
