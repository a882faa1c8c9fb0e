"""Prefect flows, the command line, and the calls for Python; they schedule the plain functions of the other packages."""

from flows.server import prefect_setup

# Prefect reads its variables when it is imported, which any module of this package may do.
prefect_setup.prepare()
