"""Answers about clips in which something is missing, odd or long, made from a real one."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data.emotions import ABAW_COMPOUNDS
from data.media.clip import Clip
from data.scores import MODALITIES, Scores
from data.windows import make_windows
from fusion.fuse import fuse
from fusion.over_time import timeline
from reports.exports.clip import ClipAnswer
from reports.result import build_result

NAMES = [compound.name for compound in ABAW_COMPOUNDS]
NASTY = 'Ça «va» <b>"so\' & so"</b>\t--> 你好\n😀 \x01]]>'
NASTY_READ = 'Ça «va» <b>"so\' & so"</b> --> 你好 😀 ]]>'
CUES = [
    {"start": 0.5, "end": 2.0, "text": NASTY, "speaker": ""}, {"start": 1.5, "end": 3.0, "text": "overlaps", "speaker": ""},
    {"start": 1.0, "end": 2.5, "text": "also", "speaker": 'Zoë <"&">'},
    {"start": float("nan"), "end": 1.0, "text": "no time"},
]  # fmt: skip


def changed(clip: ClipAnswer, change: Callable[[dict[str, Any]], None], cues: Any = ()) -> ClipAnswer:
    result = copy.deepcopy(dict(clip.result))
    change(result)
    return ClipAnswer(result, None if clip.frames is None else clip.frames.copy(), cues)


def silent(result: dict[str, Any]) -> None:
    """No modality says anything, as for a clip with neither face nor speech."""
    nothing = {**dict.fromkeys(("top", "emotion", "sureness", "blend")), "sureness_range": [None, None], "emotion_shares": {}}
    for window in result["windows"]:
        window.update(present=False, none=None, reason="No modality answers.", **nothing)
        window["contributions"] = dict.fromkeys(window["contributions"])
        window["basic"], window["compound"] = (dict.fromkeys(window[name]) for name in ("basic", "compound"))
    for entry in result["modalities"].values():
        entry["probabilities"] = [[None] * 7 for _ in entry["probabilities"]]
    result["timeline"] = []


def one_window(result: dict[str, Any]) -> None:
    result["windows"], result["timeline"] = result["windows"][:1], result["timeline"][:1]
    for entry in result["modalities"].values():
        entry["probabilities"] = entry["probabilities"][:1]


def none_of_them(result: dict[str, Any]) -> None:
    """Evidence in every window, but no compound wins: emotions alone."""
    for window in result["windows"]:
        window.update(top=None, blend=None, none=0.9, reason="None of the compounds: 90 %.", emotion_shares={})
    for row in result["timeline"]:
        row.update(compound=None, blend=None)


def made(seconds: float, clip_id: str = "film-0badcafe", path: str = "films/film.mp4", seed: int = 7) -> ClipAnswer:
    """A clip of so many seconds from value objects alone: six modalities that answer at random and fall silent at times."""
    draw, windows = np.random.default_rng(seed), make_windows(seconds)
    scores = []
    for modality in MODALITIES:
        shares = draw.dirichlet(np.full(7, 0.5), len(windows)).astype(np.float32)
        present = draw.random(len(windows)) < 0.8
        shares[~present] = np.nan
        scores.append(Scores(modality, windows, shares, present))
    fusion = fuse(scores, none_threshold=0.9)
    clip = Clip(Path(path), clip_id, "0" * 64, seconds, 25.0, 640, 360, has_video=True, has_audio=True)
    result = build_result(clip, "embedded", scores, fusion, timeline(fusion))
    begins = np.arange(0, seconds - 4, 4.0).tolist()
    cues = [{"start": begin, "end": begin + 3.5, "text": f"{begin:.0f} {NASTY}", "speaker": ""} for begin in begins]
    return ClipAnswer(result, None, cues)


def asked_for(sample: ClipAnswer, kind: str) -> ClipAnswer:
    """One of `KINDS`, made from a real answer; 90 minutes are made from value objects."""
    if kind == "90 minutes":
        return made(5400.0)
    return sample if kind == "sample" else changed(sample, KINDS[kind], CUES if kind == "words" else ())


KINDS: dict[str, Callable[[dict[str, Any]], None]] = {
    "sample": lambda result: None, "silent": silent, "one window": one_window, "none of them": none_of_them,
    "words": lambda result: None, "90 minutes": lambda result: None,
}  # fmt: skip
