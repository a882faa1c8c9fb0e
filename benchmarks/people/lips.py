"""Whether a mouth and a wrong sound are told from a mouth and its own: real clips of one who speaks to the camera."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from configs.settings import load_settings
from data.media.probe import probe
from data.people import FITS
from data.run_folder import RunFolder
from data.tables import read_table
from flows.clip.steps.decode import decode
from flows.clip.steps.faces import find_faces
from flows.job import Job
from modalities.people.lip_sync import STEP, Floats, lip_sync, loudness

CLIPS = ("talking_1", "talking_2", "talking_3", "speech_podium", "expressive_4")
SONG = "expressive_1"
OTHERS = ("crowd_10s", SONG, "expressive_2", "debate_two_faces_5s")
"""Real clips in which somebody sings, or speaks before a crowd, with their own sound."""
DRAWS, TIMES = 300, 4


@dataclass(frozen=True, eq=False)
class Speaking:
    """The mouth of who speaks in a clip, and the loudness of its sound."""

    mouths: pd.DataFrame
    loud: Floats

    def heard(self, loud: Floats, later: float) -> Floats:
        """Another sound, or its own some seconds `later`, as long as the clip."""
        return np.resize(np.roll(loud, -round(later / STEP)), len(self.loud))


def speaking(file: Path) -> Speaking:
    """Find the mouth in a clip."""
    with tempfile.TemporaryDirectory() as folder:
        job = Job(probe(file), RunFolder(Path(folder)), load_settings())
        job.folder.create()
        job.folder.mark_done("decode", "", 0.0, decode(job))
        find_faces(job)
        audio, faces = job.work_file("audio"), read_table(job.folder.faces)
        assert audio is not None
        return Speaking(faces[faces["main"]], loudness(audio))


def joined(chosen: Sequence[Speaking], sounds: Sequence[Floats]) -> float:
    """How well the mouths of clips, one after the other, fit as many sounds."""
    offset, mouths = 0.0, list[pd.DataFrame]()
    for number, (clip, sound) in enumerate(zip(chosen, sounds, strict=True)):
        mouths.append(clip.mouths.assign(time_s=clip.mouths["time_s"] + offset, track_id=clip.mouths["track_id"] + 1000 * number))
        offset += len(sound) * STEP
    return lip_sync(pd.concat(mouths), (), np.concatenate(list(sounds)), least=0.0)


def lip_rows(data: Path) -> Iterator[tuple[object, ...]]:
    """By how many clips are joined: the seconds, and how often their own, a shifted and another sound are said not to fit, and
    their own with a song as loud."""
    song = speaking(data / "media" / f"{SONG}.mp4").loud
    clips, rng = [speaking(data / "media" / f"{name}.mp4") for name in CLIPS], np.random.default_rng(0)
    for count in range(1, len(clips) + 1):
        fits: dict[str, list[float]] = {"own": [], "shifted": [], "other": [], "song": []}
        seconds = []
        for _ in range(DRAWS):
            places = rng.permutation(len(clips))[:count]
            chosen = [clips[place] for place in places]
            others = [clips[(place + rng.integers(1, len(clips))) % len(clips)] for place in places]
            seconds.append(sum(len(clip.loud) for clip in chosen) * STEP)
            fits["own"].append(joined(chosen, [clip.loud for clip in chosen]))
            later = [rng.uniform(1, len(clip.loud) * STEP - 1) for clip in chosen]
            fits["shifted"].append(joined(chosen, [clip.heard(clip.loud, by) for clip, by in zip(chosen, later, strict=True)]))
            sounds = [clip.heard(other.loud, rng.uniform(0, 3)) for clip, other in zip(chosen, others, strict=True)]
            fits["other"].append(joined(chosen, sounds))
            fits["song"].append(joined(chosen, [clip.loud + clip.heard(song, 5.0) * _gain(clip.loud, song) for clip in chosen]))
        said = [f"{100 * np.mean(np.array(values) < FITS):.0f}" for values in fits.values()]
        unsure = f"{100 * np.mean(np.isnan(fits['song'])):.0f}"
        yield (count, f"{np.mean(seconds):.0f}", f"{min(fits['own']):.2f}", *said, unsure)


def _gain(loud: Floats, other: Floats) -> float:
    """By what another sound is multiplied to be as loud."""
    return float(loud.mean() / other.mean())


def own_rows(data: Path) -> Iterator[tuple[object, ...]]:
    """What is said of real clips with their own sound, repeated, so that they are long enough to be judged."""
    for name in (*CLIPS, *OTHERS):
        clip = speaking(data / "media" / f"{name}.mp4")
        fit = joined([clip] * TIMES, [clip.loud] * TIMES)
        said = "nothing" if np.isnan(fit) else "fits" if fit >= FITS else "does not fit"
        yield (f"{name}, {TIMES} times", f"{TIMES * len(clip.loud) * STEP:.0f}", "" if np.isnan(fit) else f"{fit:.2f}", said)
