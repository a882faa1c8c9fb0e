"""What a data set tells of a clip once all were heard: it is the same whether the clip is run with the others or alone."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from configs.settings import Settings
from flows.backends.base import priors_of

FOLDER, INDEX = ".references", "index.json"
"""In the output: references under the digest of their content, and which one is whose, with the shares of the emotions."""


class KnownOfClip(NamedTuple):
    """What a data set tells of a clip: files with what is known of its person, and shares of the emotions [7], by modality."""

    references: Mapping[str, Path] = {}
    shares: Mapping[str, Mapping[str, float]] = {}


def known_of(output: Path, speaker: str, settings: Settings) -> KnownOfClip:
    """What `flows.batch.references` wrote last of a clip with this speaker, as far as the settings want it."""
    index = output / FOLDER / INDEX
    if not index.is_file():
        return KnownOfClip()
    digests, all_shares = _index(index, index.stat().st_mtime_ns)
    voice, face = settings.voice.reference, settings.static_face.reference
    wanted = {"voice": voice in ("speaker", "dataset"), "static_face": face == "person"}
    named = of_speaker(speaker, digests)
    references = {modality: output / FOLDER / f"{digest}.npz" for modality, digest in named.items() if wanted[modality]}
    estimated = {modality: shares for modality, shares in all_shares.items()
                 if (asked := priors_of(modality, settings)) is not None and asked.priors == "estimated"}  # fmt: skip
    return KnownOfClip(references, estimated)


@functools.lru_cache(maxsize=4)
def _index(path: Path, _changed: int) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, float]]]:
    found = json.loads(path.read_text(encoding="utf-8"))
    return found["references"], found["shares"]


def of_speaker(speaker: str, digests: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Of references by modality and speaker those of one speaker."""
    return {modality: by_speaker[speaker] for modality, by_speaker in digests.items() if speaker in by_speaker}
