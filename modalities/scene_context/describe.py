"""Descriptions of windows by a vision-language model: images of each window, prompts, reading of answers, and scores.

`describe` asks an OpenAI-compatible server (vLLM, SGLang, Ollama, llama.cpp), where images go out as JPEG in data URLs of
`chat.completions` messages; `qwen_vl` asks a model on this machine. Answers are text that nobody vouches for: they are
stripped of control characters, cut, and only ever read as words and, with a constrained prompt, as one label of a known set.
"""

import base64
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.emotions import BASIC_EMOTIONS, EMOTION_WORDS, Compound
from data.errors import InputError
from data.media.descriptions import without_thoughts
from data.media.frames import Frame
from data.scores import Scores, Source
from data.windows import Windows, windows_of
from modalities.scene_context.chat_server import ChatServer, Refused

JPEG_QUALITY = 85
LONGEST_ANSWER = 4000
"""Characters of an answer that are read."""
LABEL_LINE = re.compile(r"(?:^|(?<=[.!?])[ \t]+|\n)[\s*_#>-]*(?:final\s+)?label\b[\s*_]*[:=-]([^\n]*)\Z", re.IGNORECASE)
COLUMNS = {
    "window": "int64", "start": "float64", "end": "float64", "text": "str", "label": "str", "author": "str", "problem": "str",
}  # fmt: skip
UNREADABLE = "The description holds no words in Latin letters, which are what the head reads."
ABSENT_REASON = "The {backend} described no window of the clip."
Shown = TypeVar("Shown")


@dataclass(frozen=True)
class Prompt:
    """What the model is asked: `system` and `user` texts with the gaps {count} and {labels}.

    A constrained prompt asks for one label at the end, which is read from the answer.
    """

    system: str
    user: str
    constrained: bool = False


@dataclass(frozen=True)
class ImageOptions:
    """Images shown of each window, evenly spread over it, and the pixels of their longest side."""

    per_window: int
    longest_side: int


def prompt_of(tree: Mapping[str, object], name: str) -> Prompt:
    """The prompt that a YAML file holds; InputError naming the file `name` when it is not of that form."""
    system, user, constrained = tree.get("system", ""), tree.get("user"), tree.get("constrained", False)
    if not isinstance(user, str) or not user.strip() or not isinstance(system, str) or not isinstance(constrained, bool):
        raise InputError(f"The prompt {name} needs a text 'user', and may have a text 'system' and 'constrained: true'.")
    if constrained and "{labels}" not in user + system:
        raise InputError(f"The constrained prompt {name} never shows the labels; write {{labels}} where they belong.")
    return Prompt(system, user, constrained)


def describe(
    frames: Iterable[Frame],
    windows: Windows,
    server: ChatServer,
    prompt: Prompt,
    images: ImageOptions,
    compounds: Sequence[Compound] = (),
) -> pd.DataFrame:
    """Ask the server about every window [N, 2] (s) that has an image, several at once and with flat memory.

    Returns, by window: window, start, end (s), text, label (a basic emotion or the name of a compound; empty when none is
    named), author (the model), and problem: why a window has no text, in a sentence. ServerError when the server itself fails.
    """
    names = names_asked(prompt, compounds)
    answers = _ask_ahead(images_by_window(frames, windows, images), server, prompt, names)
    return described_table(answers, windows, server.options.model, names if prompt.constrained else {})


def described_table(
    answers: Iterable[tuple[int, str | Refused]], windows: Windows, author: str, names: Mapping[str, str]
) -> pd.DataFrame:
    """The table that `describe` returns, of the answer about each window; `names` are the labels that may be read from it."""
    rows = [
        {"window": window, "start": windows[window, 0], "end": windows[window, 1], "author": author} | _columns_of(answer, names)
        for window, answer in answers
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def _ask_ahead(
    shown: Iterable[tuple[int, list[str]]], server: ChatServer, prompt: Prompt, names: Mapping[str, str]
) -> Iterator[tuple[int, str | Refused]]:
    """The answer about each window, in order; images are prepared only a little ahead of the answers."""
    ahead: deque[tuple[int, Future[str | Refused]]] = deque()
    limit = server.options.concurrency
    pool = ThreadPoolExecutor(limit, "describe")
    try:
        for window, urls in shown:
            # each in a copy of this thread's context, which says whose log it is
            ahead.append((window, pool.submit(copy_context().run, server.ask, messages(prompt, urls, names))))
            if len(ahead) >= 2 * limit:
                yield ahead[0][0], _await(ahead[0][1], server)
                ahead.popleft()
        while ahead:
            yield ahead[0][0], _await(ahead[0][1], server)
            ahead.popleft()
    finally:
        if ahead:  # something went wrong: nobody waits for these any more
            server.stop.set()
        pool.shutdown(wait=not ahead, cancel_futures=True)


def _await(answer: Future[str | Refused], server: ChatServer) -> str | Refused:
    """The answer, unless the user asks to stop or another question fails for good meanwhile."""
    while not wait([answer], timeout=0.2).done:
        server.raise_if_stopped()
    return answer.result()


def messages(prompt: Prompt, urls: Sequence[str], names: Mapping[str, str]) -> list[dict[str, object]]:
    """A chat that shows images (data URLs) and asks the prompt's question."""
    return chat_of(prompt, [{"type": "image_url", "image_url": {"url": url}} for url in urls], len(urls), names)


def chat_of(
    prompt: Prompt, parts: Sequence[Mapping[str, object]], count: int, names: Mapping[str, str]
) -> list[dict[str, object]]:
    """A chat of the prompt's system text, and of `parts`, which show `count` images, followed by its question."""

    def filled(text: str) -> str:
        return text.replace("{count}", str(count)).replace("{labels}", ", ".join(dict.fromkeys(names)))

    asked: dict[str, object] = {"role": "user", "content": [*parts, {"type": "text", "text": filled(prompt.user)}]}
    return [{"role": "system", "content": filled(prompt.system)}, asked] if prompt.system else [asked]


def images_by_window(
    frames: Iterable[Frame], windows: Windows, options: ImageOptions
) -> Iterator[tuple[int, list[str]]]:
    """Number and evenly chosen images (JPEG data URLs) of every window that has one, in order; only open windows are kept."""
    for window, images in shown_by_window(frames, windows, lambda frame: data_url(frame.rgb, options.longest_side)):
        spread = np.linspace(0, len(images) - 1, min(options.per_window, len(images))).round().astype(int)
        yield window, [images[index][1] for index in spread]


def shown_by_window(
    frames: Iterable[Frame], windows: Windows, prepare: Callable[[Frame], Shown]
) -> Iterator[tuple[int, list[tuple[float, Shown]]]]:
    """Number of every window [N, 2] (s) that has a frame, in order, and time (s) and `prepare(frame)` of all its frames.

    A frame is prepared once for all windows that it lies in, and kept only while one of them is open.
    """
    kept: deque[tuple[float, Shown]] = deque()
    waiting = deque(range(len(windows)))
    last = windows[:, 1].max(initial=0.0)
    for frame in frames:
        while waiting and windows[waiting[0], 1] <= min(frame.time_s, last - 1e-9):
            yield from _window_with(waiting.popleft(), kept, windows)
        while kept and waiting and kept[0][0] < windows[waiting[0], 0]:
            kept.popleft()
        kept.append((frame.time_s, prepare(frame)))
    for window in waiting:
        yield from _window_with(window, kept, windows)


def _window_with(
    window: int, kept: Iterable[tuple[float, Shown]], windows: Windows
) -> Iterator[tuple[int, list[tuple[float, Shown]]]]:
    """The window with those of the kept frames that lie in it, where there are any."""
    shown = list(kept)
    inside = np.flatnonzero(windows_of(np.array([time_s for time_s, _ in shown]), windows)[window])
    if len(inside):
        yield window, [shown[index] for index in inside]


def data_url(rgb: NDArray[np.uint8], longest_side: int) -> str:
    """An image, uint8 RGB [H, W, 3], as a JPEG data URL, shrunk to at most `longest_side` pixels."""
    import cv2

    height, width = rgb.shape[:2]
    shrink = min(1.0, longest_side / max(height, width))
    if shrink < 1:
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode("ascii")


# ---- reading answers ---------------------------------------------------------------------------------------------------


def label_names(compounds: Sequence[Compound]) -> dict[str, str]:
    """The names a model may give -> the basic emotion or compound that is meant."""
    return {emotion: emotion for emotion in BASIC_EMOTIONS} | {compound.title: compound.name for compound in compounds}


def names_asked(prompt: Prompt, compounds: Sequence[Compound]) -> dict[str, str]:
    """The names that a prompt's {labels} show: compounds stand among them only where one label is to be named."""
    return label_names(compounds if prompt.constrained else ())


def read_answer(answer: str, names: Mapping[str, str]) -> tuple[str, str]:
    """The description in an answer, without the label at its end, and that label ('' when it names none of `names`).

    Only a last line 'Label: name', or a last line that is a name and nothing else, counts; a name inside a sentence does not.
    The line is left out of the description, whose words would otherwise count the label a second time. What the model thinks is
    no answer.
    """
    text = without_thoughts(answer)[: 4 * LONGEST_ANSWER]
    text = "".join(mark if mark.isprintable() else "\n" if mark in "\r\n" else " " for mark in text)[:LONGEST_ANSWER].strip()
    if not names:
        return " ".join(text.split()), ""
    before, label = text, ""
    if found := LABEL_LINE.search(text):
        before, label = text[: found.start()], _label_named(found[1], names)
    elif last := _label_named((text.splitlines() or [""])[-1], names):
        before, label = "\n".join(text.splitlines()[:-1]), last
    return " ".join(before.split()), label


def _label_named(said: str, names: Mapping[str, str]) -> str:
    """The label whose name, or a word for it, `said` is; '' where it is none."""
    words = _bare(said)
    known = {_bare(name): meant for name, meant in names.items()}
    return known.get(words) or known.get(EMOTION_WORDS.get(words, ""), "")


def _bare(name: str) -> str:
    """Words in lower case without marks: models write '**Sadly-Angry**.'"""
    return " ".join(re.findall(r"[^\W_]+", name.lower()))


def _columns_of(answer: str | Refused, names: Mapping[str, str]) -> dict[str, str]:
    """`text`, `label` and `problem` of an answer."""
    if isinstance(answer, Refused):
        return {"text": "", "label": "", "problem": answer.reason}
    text, label = read_answer(answer, names)
    return {"text": text, "label": label, "problem": "" if text or label else "The model answered without a word."}


# ---- from descriptions to scores ---------------------------------------------------------------------------------------


def combine(
    scores: Scores, described: pd.DataFrame, compounds: Sequence[Compound], weight: float, model: str | Source
) -> Scores:
    """Scores of the descriptions' words, mixed in each window with the label that the model named there.

    p = (1 - w) q + w l: q is what the head read from the words (uniform where only a label was answered), l has its mass on
    the label's emotion, for a compound half on each of its two; w = `weight` in 0..1, and 0 where no label was named. The
    evidence lists every window's text, label and problem. A clip of which nothing was described is absent. `model` is the
    source of the descriptions, or the name of the model that a server runs.
    """
    describer = Source("server", model) if isinstance(model, str) else model
    probabilities, present = scores.probabilities.copy(), scores.present.copy()
    named = described[described["label"] != ""]
    pairs = {compound.name: compound.pair for compound in compounds}
    for window, label in zip(named["window"], named["label"], strict=True):
        emotions = pairs.get(label) or (BASIC_EMOTIONS.index(label),)
        said = np.bincount(emotions, minlength=len(BASIC_EMOTIONS)) / len(emotions)
        words = probabilities[window] if present[window] else np.full(len(BASIC_EMOTIONS), 1 / len(BASIC_EMOTIONS))
        probabilities[window] = (1 - weight) * words + weight * said
        present[window] = True
    silent = ~present[described["window"].to_numpy()] & (described["text"] != "")
    problems = described["problem"].mask(silent, UNREADABLE)
    evidence = described[["window", "text", "author", "label"]].assign(problem=problems)
    if not present.any():
        reason = absent_reason(evidence, describer.backend)
        return replace(Scores.absent("scene_context", scores.windows, reason), evidence=evidence)
    heads = scores.source or Source("", "")
    described_by = describer.preprocessing or "described by the model"
    reading = f"{described_by}, then read by: {heads.model}; label weight {weight:g}"
    source = replace(describer, revision=describer.revision or heads.revision, preprocessing=reading)
    return replace(scores, probabilities=probabilities, present=present, source=source, reason="", remedy="", evidence=evidence)


def absent_reason(described: pd.DataFrame, backend: str = "server") -> str:
    """Why no window was described, with the first reason that was noted."""
    said = next((problem for problem in described["problem"] if problem), "")
    described_nothing = ABSENT_REASON.format(backend="server" if backend == "server" else "model")
    return f"{described_nothing} {said}".strip()
