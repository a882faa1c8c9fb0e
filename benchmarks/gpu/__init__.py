"""Large models on a GPU beside a plain loop: one command, one table."""
