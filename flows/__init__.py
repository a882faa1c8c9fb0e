"""Prefect flows and the command line: they schedule the plain functions of the other packages and compute nothing."""
