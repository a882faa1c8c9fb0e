"""Speed of the networks of the literature beside their plain forms."""
