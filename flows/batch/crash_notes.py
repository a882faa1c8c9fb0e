"""Notes of what is under way, so that a run knows which clips the one before was at when its process died without a word.

One of them may have taken it down: by using up the memory, or by crashing a library. Such clips are run with nothing else under
way; one that takes the process down even then, twice, is not begun again.
"""

import contextlib
from pathlib import Path

FOLDER = ".under-way"
MOST_DEATHS = 2
"""So often may a process die with a clip alone under way, before the clip is left out."""
BLAMED = (
    "The process died each time that this clip was under way, as it does when the memory is used up or a library crashes; "
    "--retry-failed tries it again."
)


class UnderWay:
    """Empty files in the output folder, named by how often a process has died with only this clip under way, and the clip."""

    def __init__(self, output: Path) -> None:
        self._folder = output / FOLDER
        self._folder.mkdir(exist_ok=True)
        names = [path.name.partition(" ") for path in self._folder.iterdir()]
        self._deaths = {clip_id: int(number) if number.isdecimal() else 0 for number, _, clip_id in names}

    def deaths(self, clip_id: str) -> int | None:
        """How often a process has died with this clip alone under way; None when none has died with it."""
        return self._deaths.get(clip_id)

    def begin(self, clip_id: str) -> None:
        """Note that a clip begins; alone, when a process has died with it."""
        deaths = self.deaths(clip_id)
        with contextlib.suppress(OSError):  # a full disk is told by the clip itself
            if deaths is None:
                (self._folder / f"0 {clip_id}").touch()
            else:
                (self._folder / f"{deaths} {clip_id}").replace(self._folder / f"{deaths + 1} {clip_id}")

    def end(self, clip_id: str) -> None:
        """Forget a clip that has ended, however it did."""
        deaths = self._deaths.pop(clip_id, None)
        for number in (0,) if deaths is None else (deaths, deaths + 1):
            (self._folder / f"{number} {clip_id}").unlink(missing_ok=True)
