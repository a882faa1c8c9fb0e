"""Descriptions of windows by Qwen-VL on this machine (transformers): each window is shown as a video with its true times.

Images are resized and cut into patches where they are read, by the thread of their clip; what runs on the device is the
network alone, over a batch of windows of any clips. Decoding is greedy, so an answer does not depend on its batch (but for
ties of tokens in half precision).
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.emotions import Compound
from data.errors import InputError, WeightsError
from data.media.frames import Frame, Ticks
from data.precision import Precision
from data.scores import Source
from data.windows import Windows
from modalities.loading.batching import Batches, in_batches
from modalities.loading.devices import precision_of
from modalities.loading.pretrained import digest_of, load_config, load_network, loading_errors, name_of, quiet, short
from modalities.scene_context.describe import Prompt, chat_of, described_table, names_asked, shown_by_window

if TYPE_CHECKING:
    from torch import Tensor

FAMILIES = {"qwen2_vl": False, "qwen2_5_vl": False, "qwen3_vl": True, "qwen3_vl_moe": True}
"""Kinds of models (`model_type` of config.json), and whether their processors count pixels of a whole video, not of an image."""
WANTED = {
    "a tokenizer": ("tokenizer.json", "vocab.json"),
    "the tokenizer's settings": ("tokenizer_config.json",),
    "a picture processor": ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"),
}
"""What a folder must hold besides the weights, and the files that may hold it."""
AGAIN = "copy or download the whole repository again"
TICKS_PER_SECOND = 1000
"""Resolution of the images' times."""
TimedImage = tuple[float, NDArray[np.uint8]]


@dataclass(frozen=True)
class VideoOptions:
    """Images shown of a window for each second, at most as many as the run keeps; pixels (after resizing, at most) of an
    image and of all of a window's images; and the longest answer in tokens."""

    frames_per_second: float
    pixels_per_image: int
    pixels_per_window: int
    max_new_tokens: int


@dataclass(frozen=True, eq=False)
class QwenVL:
    """A Qwen-VL network (evaluation mode), its processor, its device, and whether its pixel budget is that of a whole video."""

    network: Any
    processor: Any
    device: str
    budget_of_video: bool
    source: Source
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    """The network keeps the positions of the batch under way in itself: one batch at a time."""


@dataclass(frozen=True, eq=False)
class Request:
    """One window, ready for the network: token ids and kinds [T], patches [P, D] (the network's dtype), and their grid [1, 3]
    (time, rows, columns). `seconds_per_grid` is None for families that are told times in words."""

    tokens: "Tensor"
    kinds: "Tensor"
    patches: "Tensor"
    grid: "Tensor"
    seconds_per_grid: float | None
    max_new_tokens: int
    thinks: bool
    """The chat ends within the model's thoughts, so that its answer begins with them."""


# ---- loading -------------------------------------------------------------------------------------------------------------


def load_qwen(folder: Path, *, device: str = "cpu", precision: Precision = "auto") -> QwenVL:
    """Load Qwen2-VL, Qwen2.5-VL or Qwen3-VL from a folder in the layout of `save_pretrained`, in one file or in shards.

    Nothing is fetched and no program of the folder runs. WeightsError in a sentence when the folder holds another kind of
    model, lacks a file, or holds weights that are damaged or of another shape.
    """
    from modalities.scene_context.chunked_attention import use_chunked_attention

    kind = str(load_config(folder).model_type)
    if kind not in FAMILIES:
        raise WeightsError(
            f"{folder} holds a model of the kind '{kind}', which cannot be asked about videos here; give the folder of one of "
            f"the kinds {', '.join(FAMILIES)}."
        )
    processor = _load_processor(folder)
    network = load_network("AutoModelForImageTextToText", folder, precision_of(device, precision))
    _check_tokens(folder, network.config, processor)
    _decode_greedily(network, processor.tokenizer)
    if device != "cpu":  # a processor is not kept waiting by many small calls, and saves the copies
        use_chunked_attention(network.model.visual)
    source = Source("qwen", name_of(folder), _revision(folder), "described by the model from a video of each window")
    return QwenVL(network.requires_grad_(False).eval().to(device), processor, device, FAMILIES[kind], source)


def _revision(folder: Path) -> str:
    """The commit of a snapshot in the hub's cache, else a digest of the weights or of the list of their shards."""
    whole = folder.absolute()
    return whole.name[:12] if whole.parent.name == "snapshots" else digest_of(folder)


def _load_processor(folder: Path) -> Any:
    """The processor of transformers, which has no types; WeightsError where a part of it is missing or unreadable."""
    from transformers import AutoProcessor

    for what, names in WANTED.items():
        if not any((folder / name).is_file() for name in names):
            raise WeightsError(f"{folder} lacks {what} ({names[0]}); {AGAIN}.")
    with loading_errors(f"The tokenizer and the picture processor in {folder} cannot be loaded"), quiet():
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not processor.chat_template:
        raise WeightsError(f"{folder} lacks a chat template (chat_template.jinja or chat_template.json); {AGAIN}.")
    _check_chat(folder, processor)
    if hasattr(processor.video_processor, "cap_pixels_per_frame"):
        processor.video_processor.cap_pixels_per_frame = False  # every request sets its own budget
    return processor


def _check_chat(folder: Path, processor: Any) -> None:
    """A template is a program of its own: it must run, and show one video."""
    try:
        text = processor.apply_chat_template(
            chat_of(Prompt("system", "user"), [{"type": "video"}], 1, {}), tokenize=False, add_generation_prompt=True
        )
    except Exception as error:  # errors of jinja2, which is not imported here
        raise WeightsError(f"The chat template in {folder} cannot be used ({short(error)}); {AGAIN}.") from error
    if text.count(processor.video_token) != 1 or "user" not in text:
        raise WeightsError(f"The chat template in {folder} does not show videos; {AGAIN}.")


def _check_tokens(folder: Path, config: Any, processor: Any) -> None:
    """WeightsError unless the tokenizer is the network's own."""
    rows = config.get_text_config().vocab_size
    if processor.video_token_id != config.video_token_id or len(processor.tokenizer) > rows:
        raise WeightsError(f"The tokenizer in {folder} is not that of its network ({rows} tokens); {AGAIN}.")


def _decode_greedily(network: Any, tokenizer: Any) -> None:
    """Replace the folder's way of decoding: sampling would differ from run to run, and a penalty on repetition would count
    the padding, so that an answer would depend on its batch."""
    from transformers import GenerationConfig

    ends = network.generation_config.eos_token_id
    stops = {*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id} - {None}
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(stops)
    network.generation_config = GenerationConfig(
        do_sample=False, num_beams=1, use_cache=True, eos_token_id=sorted(stops), pad_token_id=pad, repetition_penalty=1.0
    )


# ---- from images to requests ---------------------------------------------------------------------------------------------


def request_of(
    model: QwenVL, images: Sequence[TimedImage], prompt: Prompt, names: Mapping[str, str], options: VideoOptions, start: float
) -> Request:
    """What the network needs to describe one window: its images (time in s, uint8 RGB [H, W, 3]) and the prompt.

    Times are told from the window's `start` (s) on. Runs on the CPU. InputError for images that no network could see.
    """
    import torch

    asked = chat_of(prompt, [{"type": "video"}], len(images), names)
    text = model.processor.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    shown = list(images) if len(images) > 1 else [*images, *images]  # one step in time is two images
    video = np.stack([rgb for _, rgb in shown])
    try:
        made = model.processor(
            text=[text], videos=[video], return_tensors="pt", videos_kwargs=video_arguments(model, shown, options, start)
        )
    except ValueError as error:
        raise InputError(f"Pictures of {video.shape[2]} x {video.shape[1]} pixels cannot be shown ({short(error)}).") from error
    seconds = made.get("second_per_grid_ts")
    return Request(
        made["input_ids"][0], made["mm_token_type_ids"][0],
        # the network would turn its patches into its own dtype anyway; so they travel at half the size
        made["pixel_values_videos"].to(model.network.dtype), made["video_grid_thw"],
        None if seconds is None else float(torch.as_tensor(seconds).flatten()[0]),
        options.max_new_tokens, text.rstrip().endswith("<think>"),
    )  # fmt: skip


def video_arguments(model: QwenVL, images: Sequence[TimedImage], options: VideoOptions, start: float) -> dict[str, object]:
    """What the processor is told about a window's images: their pixel budget and their times."""
    budget = min(options.pixels_per_image, options.pixels_per_window // len(images))
    budget *= len(images) if model.budget_of_video else 1
    smallest = min(int(model.processor.video_processor.size["shortest_edge"]), budget)
    times = [round((time_s - start) * TICKS_PER_SECOND) for time_s, _ in images]
    rate = rate_of([time_s for time_s, _ in images], options.frames_per_second)
    # Qwen3 writes the time of each image (index / fps) into the prompt; Qwen2.5 counts by len(indices) / total * fps
    metadata = {
        "fps": float(TICKS_PER_SECOND),
        "frames_indices": times,
        "total_num_frames": round(len(images) * TICKS_PER_SECOND / rate),
    }
    return {
        "do_sample_frames": False,
        "video_metadata": [metadata],
        "size": {"shortest_edge": smallest, "longest_edge": budget},
    }


def rate_of(times: Sequence[float], wanted: float) -> float:
    """Images a second: `wanted`, unless the clip has far fewer than that, then what it has.

    The distance of single images from their ticks is no change of rate.
    """
    span = times[-1] - times[0]
    measured = (len(times) - 1) / span if span > 0 else wanted
    return measured if measured < 0.75 * wanted else wanted


# ---- asking --------------------------------------------------------------------------------------------------------------


def describe_windows(model: QwenVL, requests: list[Request]) -> list[str]:
    """The answers to several requests at once, by greedy decoding; WeightsError when the network's numbers overflow.

    Nothing is cached between windows: the video comes before the question, so only the few tokens of the system text are
    the same for all.
    """
    import torch

    inputs, longest = batch_inputs(model, requests)
    overflow = torch.zeros(len(requests), dtype=torch.bool, device=model.device)

    def watch(_: "Tensor", logits: "Tensor") -> "Tensor":
        overflow.logical_or_(~torch.isfinite(logits).all(-1))
        return logits

    most = max(request.max_new_tokens for request in requests)
    with model.lock, torch.inference_mode():
        said = model.network.generate(**inputs, max_new_tokens=most, logits_processor=[watch])[:, longest:].cpu()
    if bool(overflow.any()):
        raise WeightsError(
            f"{model.source.model} computes numbers that {str(model.network.dtype).removeprefix('torch.')} cannot hold; "
            "set another precision (bfloat16 or float32), or copy the weights again."
        )
    rows = [tokens[: request.max_new_tokens] for request, tokens in zip(requests, said, strict=True)]
    texts = model.processor.tokenizer.batch_decode(rows, skip_special_tokens=True)
    return [("<think>" if request.thinks else "") + text for request, text in zip(requests, texts, strict=True)]


def batch_inputs(model: QwenVL, requests: Sequence[Request]) -> tuple[dict[str, object], int]:
    """The network's inputs on its device, padded on the left (where an attention mask makes the padding unseen); tokens a row."""
    import torch

    longest = max(len(request.tokens) for request in requests)

    def rows(parts: Iterable["Tensor"], value: int) -> "Tensor":
        padded = [torch.nn.functional.pad(part, (longest - len(part), 0), value=value) for part in parts]
        return torch.stack(padded).to(model.device)

    inputs: dict[str, object] = {
        "input_ids": rows((request.tokens for request in requests), model.network.generation_config.pad_token_id),
        "attention_mask": rows((torch.ones_like(request.tokens) for request in requests), 0),
        "mm_token_type_ids": rows((request.kinds for request in requests), 0),
        "pixel_values_videos": torch.cat([request.patches for request in requests]).to(model.device),
        "video_grid_thw": torch.cat([request.grid for request in requests]).to(model.device),
    }
    seconds = [request.seconds_per_grid for request in requests]
    return inputs | ({} if None in seconds else {"second_per_grid_ts": seconds}), longest


def describe(
    model: QwenVL,
    frames: Iterable[Frame],
    windows: Windows,
    prompt: Prompt,
    options: VideoOptions,
    compounds: Sequence[Compound] = (),
    *,
    batches: Batches = in_batches,
    batch: int = 4,
) -> pd.DataFrame:
    """Describe every window [N, 2] (s) that has an image; memory is that of the open windows and of one batch.

    Returns the table of `describe.describe`: window, start, end (s), text, label, author (the model), and problem: why
    a window has no text. A GPU is best used by a large `batch`, since a step of decoding costs it about the same for many.
    """
    names = names_asked(prompt, compounds)
    asked: list[int] = []

    def requests() -> Iterator[Request]:
        ticks = Ticks(options.frames_per_second)
        sampled = (frame for frame in frames if ticks.takes(frame.time_s))
        for window, images in shown_by_window(sampled, windows, lambda frame: frame.rgb):
            asked.append(window)
            yield request_of(model, images, prompt, names, options, float(windows[window, 0]))

    answers = ((asked[number], answer) for number, answer in zip(count(), batches(describe_windows, model, requests(), batch)))
    return described_table(answers, windows, model.source.model, names if prompt.constrained else {})
