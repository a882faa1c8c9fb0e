"""Face networks of the literature, one file each, and the table that names them (docs/networks.md)."""
