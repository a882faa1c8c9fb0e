"""A watched folder: a file that has landed in it is handed to `recognise-video`, once."""

import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data.manifest.manifest import MEDIA
from flows.runtime.state_folder import state_folder, write_private
from flows.server.client import LANDED

logger = logging.getLogger(__name__)
Look = tuple[int, int]
"""A file's size and time of change: what tells whether it still grows, and whether it is another file than before."""
HandOver = Callable[[Path, Look], None]


@dataclass
class WatchedFolder:
    """A folder and what of it was handed over already, remembered in a note so that a restart repeats nothing."""

    folder: Path
    note: Path
    done: dict[str, Look] = field(default_factory=dict)
    seen: dict[str, tuple[Look, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> "WatchedFolder":
        """The folder with what its note says; a damaged note is as none."""
        folder = folder.resolve()
        note = state_folder() / "watched" / f"{_short(folder)}.json"
        try:
            done = {str(name): (int(look[0]), int(look[1])) for name, look in json.loads(note.read_text()).items()}
        except (OSError, ValueError, AttributeError, IndexError, TypeError):
            done = {}
        return cls(folder, note, done)

    def landed(self, settle: float) -> Iterator[tuple[Path, Look]]:
        """Media files that have not changed for `settle` seconds and were not handed over as they are now."""
        now, present = time.monotonic(), _files(self.folder)
        self.seen = {name: self.seen[name] for name in present if name in self.seen and self.seen[name][0] == present[name]}
        for name, look in sorted(present.items()):
            _, since = self.seen.setdefault(name, (look, now))
            if look[0] and self.done.get(name) != look and now - since >= settle:
                yield self.folder / name, look

    def note_done(self, path: Path, look: Look) -> None:
        """Remember that a file was handed over."""
        self.done[path.name] = look
        write_private(self.note, json.dumps(self.done))


def watch(
    folder: Path, hand_over: HandOver, *, every: float = 1.0, settle: float = 2.0, ended: threading.Event | None = None,
    tend: Callable[[], object] = lambda: None,
) -> None:  # fmt: skip
    """Look at `folder` every so many seconds and hand over what has landed, until `ended` is set.

    A file counts as landed when its size and time have not changed for `settle` seconds. What cannot be handed over now
    (the server is down, the folder is not mounted) is tried again at the next look. `tend` is called at each look, to see to
    what was handed over before.
    """
    watched, ended, trouble = WatchedFolder.of(folder), ended or threading.Event(), ""
    while not ended.wait(every):
        try:
            tend()
            for path, look in watched.landed(settle):
                hand_over(path, look)
                watched.note_done(path, look)
                logger.info("%s was handed over", path.name)
            trouble = ""
        except Exception as error:  # whatever it is, the next look may go well, and a watcher must not die of one file
            if str(error) != trouble:
                trouble = str(error)
                logger.warning("Trying again: %s", trouble)


def by_run(path: Path, look: Look) -> None:
    """Have a worker run `recognise-video` on the file; asked twice for the same file, the server makes one run."""
    from prefect.deployments import run_deployment

    run_deployment(
        "recognise-video/recognise-video", parameters={"video": str(path)}, timeout=0, as_subflow=False,
        flow_run_name=path.name, idempotency_key=f"{path}:{look[0]}:{look[1]}",
    )  # fmt: skip


def by_event(path: Path, look: Look) -> None:
    """Tell the server `dyad.file.landed`; what follows is up to its automations."""
    from prefect.client.orchestration import get_client
    from prefect.events import Event, Resource

    resource = Resource({"prefect.resource.id": f"dyad.file.{_short(path)}", "prefect.resource.name": path.name})
    event = Event(event=LANDED, resource=resource, payload={"path": str(path), "bytes": look[0]})
    with get_client(sync_client=True) as client:
        client.request("POST", "/events", json=[event.model_dump(mode="json")])


def watcher_name(folder: Path) -> str:
    """The name of the background process that watches a folder."""
    return f"watch-{_short(folder.resolve())}"


def _short(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:10]


def _files(folder: Path) -> dict[str, Look]:
    found: dict[str, Look] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if Path(entry.name).suffix.lower() in MEDIA and not entry.name.startswith(".") and entry.is_file():
                status = entry.stat()
                found[entry.name] = (status.st_size, status.st_mtime_ns)
    return found
