"""Who is in a clip: which faces are one person's, who speaks when, and whose face a voice belongs to."""
