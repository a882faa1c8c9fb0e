"""The second pass over a data set: once all clips were heard, each is related to what is known of its speaker and of all."""

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from configs.settings import Settings
from data.files import write_text
from data.manifest.manifest import Manifest
from data.run_folder import RunFolder
from flows.backends import backend_of
from flows.backends.base import HearingBackend
from flows.batch.journal import Journal

FOLDER, INDEX = ".references", "voice.json"
"""In the output: references under the digest of their content, and which one is whose."""


def gather(output: Path, clips: Manifest, journal: Journal, settings: Settings) -> Mapping[str, str]:
    """The digest of each speaker's reference ('' for clips whose speaker is unknown), written into the output; none where the
    settings want none, or fewer than two clips have a voice."""
    from modalities.reference import write_known

    backend = backend_of(settings, "voice")
    assert isinstance(backend, HearingBackend)
    speakers = dict[str, None]()

    def heard() -> Iterator[tuple[str, RunFolder]]:
        for row in clips.rows():
            ended = journal.latest(row.clip_id)
            if ended is not None and ended.state != "failed":
                speakers[row.speaker] = None
                yield row.speaker, RunFolder(output / row.clip_id)

    references = backend.known(heard(), settings)
    if references is None or references.sources < 2:
        return {}
    folder = output / FOLDER
    folder.mkdir(exist_ok=True)
    found = {speaker: write_known(folder, references.of(speaker)) for speaker in speakers}
    write_text(folder / INDEX, json.dumps(found, ensure_ascii=False, sort_keys=True))
    for file in folder.glob("*.npz"):
        if file.stem not in found.values():
            file.unlink(missing_ok=True)
    return found


def references_of(output: Path, speaker: str) -> dict[str, Path]:
    """The file of a speaker's reference by its modality, as `gather` wrote it last; none where it knew nobody of that name."""
    index = output / FOLDER / INDEX
    digest = _index(index, index.stat().st_mtime_ns).get(speaker) if index.is_file() else None
    return {"voice": output / FOLDER / f"{digest}.npz"} if digest else {}


@functools.lru_cache(maxsize=4)
def _index(path: Path, _changed: int) -> Mapping[str, str]:
    found: Mapping[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return found
