"""`--profile-time`: where the time of clips went, by stage."""

import time
from collections.abc import Callable
from pathlib import Path

from rich.table import Table

from data import terminal
from data.run_folder import RunFolder, StageNote
from flows.clip.stages import STAGES
from flows.runtime.spent import Spent

HEADS = ("seconds", "computing", "loading", "waiting")


def shown_before(then: Callable[[Path], bool]) -> Callable[[Path], bool]:
    """`then`, after a table on stderr of what each stage of the clip spent, and what the whole command did so far."""
    began, processor = time.perf_counter(), time.process_time()

    def shown(folder: Path) -> bool:
        console = terminal.console(stderr=True)
        console.print(table(RunFolder(folder)))
        spent = f"{time.perf_counter() - began:.1f} s on the clock, {time.process_time() - processor:.1f} s of the processor"
        console.print(f"The command so far: {spent}, by all its threads. Stages run side by side.", markup=False, soft_wrap=True)
        return then(folder)

    return shown


def table(*folders: RunFolder) -> Table:
    """A row a stage that has ended, of all clips together: seconds on the clock, and of them computing in its own thread, loading
    models, and waiting (for a core, another thread, a lock or the disk). What was done before shows what it took then."""
    shown = Table("stage", *HEADS, title="Where the time went, seconds", box=None)
    for name in STAGES:
        spent = [_figures(noted) for folder in folders if "seconds" in (noted := folder.finished(name))]
        if spent:
            shown.add_row(name.replace("_", " "), *(f"{sum(values):.2f}" for values in zip(*spent, strict=True)))
    return shown


def _figures(noted: StageNote) -> tuple[float, float, float, float]:
    spent = Spent(**noted.get("spent", {}))
    return noted["seconds"], spent.computing, spent.loading, spent.waiting
