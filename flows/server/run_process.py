"""The process of a run that Dyad's worker takes: `flows`, which sets Prefect up, is imported before Prefect is."""

import os
import runpy

from data.terminal import guarded

if __name__ == "__main__":
    if hasattr(os, "setsid"):  # a session of its own: what ends the worker's terminal or group does not end the run
        os.setsid()
    with guarded():
        runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)
