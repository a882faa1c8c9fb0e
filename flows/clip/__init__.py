"""One clip: its graph of stages, what each does with files, and what runs them."""
