"""A data set's figures and page."""
