"""The commands; `app.py` puts them together."""
