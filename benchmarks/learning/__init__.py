"""Whether the networks of the literature learn, from stills and from clips whose order is the label."""
