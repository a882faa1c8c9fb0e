"""Who is in a clip: dialogues and pictures whose truth is known, and how far the answer is from it."""
