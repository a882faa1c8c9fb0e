"""The moving face: our own network over time, CLIP features with a temporal head."""
