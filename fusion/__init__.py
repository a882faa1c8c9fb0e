"""From the modalities' scores to compounds: fusion over modalities, composition of pairs, metrics."""
