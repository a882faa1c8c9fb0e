"""Media files: measured, decoded once, cut into segments, with their subtitles."""
