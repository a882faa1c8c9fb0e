"""Prefect flows, the command line, and the calls for Python; they schedule the plain functions of the other packages."""

from flows.runtime import starting

if starting.is_command():
    starting.begin()
    starting.in_utf8()

from flows.server import prefect_setup  # noqa: E402 (it takes a while, in which a signal may come)

# Prefect reads its variables when it is imported, which any module of this package may do.
prefect_setup.prepare()
