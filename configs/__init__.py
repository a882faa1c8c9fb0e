"""Settings and prompts in files; read by the flows alone."""

DEFAULT_PROFILE = "embedded"
"""The profile of a run that names none; here, since the command line shows it before it loads the settings."""
