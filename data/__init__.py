"""Value objects, media and the run folder: what every other package of Dyad speaks in. Imports none of them."""
