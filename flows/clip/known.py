"""What a data set tells of a clip once all were heard: it is the same whether the clip is run with the others or alone."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from configs.settings import Settings
from data.json_files import parse_json
from flows.backends.base import priors_of

FOLDER, INDEX = ".references", "index.json"
"""In the output: references under the digest of their content, and which one is whose, with the shares of the emotions."""
WHOSE = "main"
"""In place of the number of the person whom the clip's answer is about."""


class KnownOfClip(NamedTuple):
    """What a data set tells of a clip: files with what is known of its person, and shares of the emotions [7], by modality; and
    the files about each of its further persons."""

    references: Mapping[str, Path] = {}
    of_others: Mapping[int, Mapping[str, Path]] = {}
    shares: Mapping[str, Mapping[str, float]] = {}


class Told(NamedTuple):
    """What a data set tells: digests of references by modality and by who it is, shares of the emotions by modality, and who is
    who in the clips, `persons`: by run folder and number (WHOSE for whom its answer is about) those that are linked."""

    references: Mapping[str, Mapping[str, str]] = {}
    shares: Mapping[str, Mapping[str, float]] = {}
    persons: Mapping[str, Mapping[str, str]] = {}

    def of_clip(self, folder: str, speaker: str) -> Mapping[str, Mapping[str, str]]:
        """Digests by modality about each person in a run folder of whom something is known; `speaker` is whom its row names."""
        named = {**self.persons.get(folder, {}), **({WHOSE: speaker} if speaker else {})}
        by_person = {person: self._of(who) for person, who in {WHOSE: "", **named}.items()}
        return {person: found for person, found in by_person.items() if found}

    def _of(self, who: str) -> dict[str, str]:
        return {modality: by_name[who] for modality, by_name in self.references.items() if who in by_name}


def known_of(folder: Path, speaker: str, settings: Settings) -> KnownOfClip:
    """What `flows.batch.references` wrote last of the clip in a run folder, with this speaker, as far as the settings want it."""
    output = folder.parent
    index = output / FOLDER / INDEX
    if not index.is_file():
        return KnownOfClip()
    told = _index(index, index.stat().st_mtime_ns)
    voice, face = settings.voice.reference, settings.static_face.reference
    wanted = {"voice": voice in ("speaker", "dataset"), "static_face": face == "person"}
    files = {
        person: {modality: output / FOLDER / f"{digest}.npz" for modality, digest in named.items() if wanted[modality]}
        for person, named in told.of_clip(folder.name, speaker).items()
    }
    own = files.pop(WHOSE, {})
    estimated = {modality: shares for modality, shares in told.shares.items()
                 if (asked := priors_of(modality, settings)) is not None and asked.priors == "estimated"}  # fmt: skip
    return KnownOfClip(own, {int(person): named for person, named in files.items()}, estimated)


@functools.lru_cache(maxsize=4)
def _index(path: Path, _changed: int) -> Told:
    return Told(**parse_json(path.read_text(encoding="utf-8")))  # of many clips it may be larger than what users bring
