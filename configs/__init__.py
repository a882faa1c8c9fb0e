"""Settings and prompts in files; read by the flows alone."""
