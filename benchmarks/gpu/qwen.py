"""Qwen-VL for `benchmarks/gpu/run.py`: full-size networks with random weights, and processors made in memory."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from benchmarks.gpu.measure import Workload
from data.precision import Precision
from data.scores import Source
from modalities.loading.devices import precision_of

TOKENS = 48
"""Tokens of every answer, in the product's way and in the plain loop: no token ends one."""
PICTURES = 8
PROMPT = Path(__file__).resolve().parents[2] / "configs" / "prompts" / "scene_description.yaml"
SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>{% elif 'text' in part %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TINY_TEXT = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "vocab_size": 2000, "max_position_embeddings": 4096}  # fmt: skip
TINY_VISION = {"depth": 2, "num_heads": 2, "intermediate_size": 64, "hidden_size": 32, "out_hidden_size": 64}


def qwen2_5_vl(device: str, precision: Precision, tiny: bool) -> Workload:
    """Qwen2.5-VL-7B."""
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    text: dict[str, Any] = {
        "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "vocab_size": 152064, "max_position_embeddings": 128000,
    }  # fmt: skip
    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584}
    blocks = [1] if tiny else [7, 15, 23, 31]
    more: dict[str, Any] = {"patch_size": 14, "window_size": 112, "fullatt_block_indexes": blocks, "tokens_per_second": 2}
    if tiny:
        text, vision = TINY_TEXT, TINY_VISION
    text = text | rotation(1e6, [2, 3, 3] if tiny else [16, 24, 24])
    tokenizer = tokenizer_of()
    marks = _marks(tokenizer)
    config = Qwen2_5_VLConfig(text_config=_ends(text), vision_config=vision | more, tie_word_embeddings=False, **marks)
    size = {"shortest_edge": 28 * 28, "longest_edge": 16384 * 28 * 28}
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size), video_processor=Qwen2VLVideoProcessor(size=size),
        tokenizer=tokenizer, chat_template=CHAT,
    )  # fmt: skip
    return _subject(Qwen2_5_VLForConditionalGeneration, config, processor, False, device, precision, tiny)


def qwen3_vl(device: str, precision: Precision, tiny: bool) -> Workload:
    """Qwen3-VL-4B."""
    from transformers import (
        Qwen2VLImageProcessor,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    text: dict[str, Any] = {
        "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "max_position_embeddings": 262144,
    }  # fmt: skip
    vision = {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16, "out_hidden_size": 2560}
    more: dict[str, Any] = {"patch_size": 16, "deepstack_visual_indexes": [5, 11, 17], "num_position_embeddings": 2304}
    if tiny:
        text, vision = TINY_TEXT | {"head_dim": 16}, TINY_VISION
        more |= {"deepstack_visual_indexes": [0], "num_position_embeddings": 64}
    text = text | rotation(5e6, [2, 3, 3] if tiny else [24, 20, 20], mrope_interleaved=True)
    tokenizer = tokenizer_of()
    config = Qwen3VLConfig(text_config=_ends(text), vision_config=vision | more, tie_word_embeddings=True, **_marks(tokenizer))
    size = {"shortest_edge": 32 * 32, "longest_edge": 16384 * 32 * 32}
    processor = Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size, patch_size=16), video_processor=Qwen3VLVideoProcessor(size=size),
        tokenizer=tokenizer, chat_template=CHAT,
    )  # fmt: skip
    return _subject(Qwen3VLForConditionalGeneration, config, processor, True, device, precision, tiny)


def rotation(theta: float, sections: list[int], **more: bool) -> dict[str, Any]:
    """How a text network encodes positions in time, rows and columns."""
    return {"rope_parameters": {"rope_type": "default", "rope_theta": theta, "mrope_section": sections, **more}}


def tokenizer_of() -> Any:
    """A byte-level tokenizer for which a word of the product's prompt is a token, about as for Qwen's own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1900, special_tokens=list(SPECIAL), show_progress=False, initial_alphabet=alphabet)
    tokenizer.train_from_iterator([PROMPT.read_text(encoding="utf-8")], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", additional_special_tokens=list(SPECIAL[1:])
    )


def _marks(tokenizer: Any) -> dict[str, int]:
    names = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>",
             "vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}  # fmt: skip
    return {name: tokenizer.convert_tokens_to_ids(mark) for name, mark in names.items()}


def _ends(text: dict[str, Any]) -> dict[str, Any]:
    return text | {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}


def _subject(kind: Any, config: Any, processor: Any, whole: bool, device: str, precision: Precision, tiny: bool) -> Workload:
    from transformers import GenerationConfig

    from modalities.scene_context.chunked_attention import use_chunked_attention
    from modalities.scene_context.qwen_vl import QwenVL, describe_windows

    with torch.device(device):
        network = kind._from_config(config, dtype=precision_of(device, precision), attn_implementation="sdpa")
    network.generation_config = GenerationConfig(do_sample=False, num_beams=1, use_cache=True, pad_token_id=0)
    if device != "cpu":
        use_chunked_attention(network.model.visual)
    processor.video_processor.cap_pixels_per_frame = False  # as the product's loader does
    model = QwenVL(network.requires_grad_(False).eval(), processor, device, whole, Source("random", "random weights", "", ""))
    random = np.random.default_rng(0)
    side = (90, 160, 3) if tiny else (540, 960, 3)
    shown = [[(turn / 2, random.integers(0, 256, side, dtype=np.uint8)) for turn in range(PICTURES)] for _ in range(2)]
    prepare = partial(request, 8 if tiny else TOKENS)
    return Workload(model, describe_windows, shown, prepare, 2 if tiny else 8, 2 if tiny else 64)


def request(tokens: int, model: Any, pictures: Any) -> Any:
    """What the thread of a clip makes of a window's pictures."""
    from configs.schema import VisionSettings
    from modalities.scene_context.describe import names_asked, prompt_of
    from modalities.scene_context.qwen_vl import VideoOptions, request_of

    asked = VisionSettings()
    options = VideoOptions(asked.frames_per_second, asked.pixels, asked.pixels_of_window, tokens)
    prompt = prompt_of(yaml.safe_load(PROMPT.read_text(encoding="utf-8")), PROMPT.name)
    return request_of(model, pictures, prompt, names_asked(prompt, ()), options, 0.0)
