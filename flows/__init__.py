"""Prefect flows and the command line: they schedule the plain functions of the other packages and compute nothing."""

from flows import prefect_setup

# Prefect reads its variables when it is imported, which any module of this package may do.
prefect_setup.prepare()
