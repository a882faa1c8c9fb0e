"""Tiny Qwen-VL checkpoints with random weights in the public layout (`save_pretrained`), for tests that load and run them."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'video' %}VIDEO{% elif 'text' in part %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
).replace("VIDEO", "<|vision_start|><|video_pad|><|vision_end|>")
WORDS = ["she smiles and looks at him", "a man is sad; he cries", "angry people shout at each other. Label: happiness"]
VISION = {"depth": 2, "num_heads": 2, "intermediate_size": 64}


def tiny_tokenizer() -> Any:
    """A byte-level tokenizer that knows the special tokens of Qwen and a few words."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=list(SPECIAL), show_progress=False, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(WORDS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", additional_special_tokens=list(SPECIAL[1:])
    )


def _text_config(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096, "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
    }  # fmt: skip


def _qwen2(family: str, text: dict[str, Any], ids: dict[str, int]) -> Any:
    import transformers

    if family == "qwen2_vl":
        vision = {"depth": 2, "embed_dim": 32, "num_heads": 2, "mlp_ratio": 2, "patch_size": 14, "hidden_size": 64}
        config = transformers.Qwen2VLConfig(text_config=text, vision_config=vision, **ids)
        return transformers.Qwen2VLForConditionalGeneration(config)
    vision = VISION | {
        "hidden_size": 32, "patch_size": 14, "out_hidden_size": 64, "fullatt_block_indexes": [1], "window_size": 56,
        "tokens_per_second": 2,
    }  # fmt: skip
    config = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
    return transformers.Qwen2_5_VLForConditionalGeneration(config)


def _qwen3(family: str, text: dict[str, Any], ids: dict[str, int]) -> Any:
    import transformers

    text = text | {"head_dim": 16, "rope_parameters": text["rope_parameters"] | {"mrope_interleaved": True}}
    vision = VISION | {
        "hidden_size": 32, "patch_size": 16, "out_hidden_size": 64, "deepstack_visual_indexes": [0],
        "num_position_embeddings": 64,
    }  # fmt: skip
    if family == "qwen3_vl":
        return transformers.Qwen3VLForConditionalGeneration(
            transformers.Qwen3VLConfig(text_config=text, vision_config=vision, **ids)
        )
    text |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "decoder_sparse_step": 1}
    config = transformers.Qwen3VLMoeConfig(text_config=text, vision_config=vision, **ids)
    return transformers.Qwen3VLMoeForConditionalGeneration(config)


def _processor(family: str, tokenizer: Any) -> Any:
    import transformers

    if family.startswith("qwen3"):
        size = {"shortest_edge": 32 * 32, "longest_edge": 64 * 32 * 32}
        return transformers.Qwen3VLProcessor(
            image_processor=transformers.Qwen2VLImageProcessor(size=size, patch_size=16), tokenizer=tokenizer,
            video_processor=transformers.Qwen3VLVideoProcessor(size=size), chat_template=CHAT,
        )  # fmt: skip
    size = {"shortest_edge": 28 * 28, "longest_edge": 16 * 28 * 28}
    kind = transformers.Qwen2VLProcessor if family == "qwen2_vl" else transformers.Qwen2_5_VLProcessor
    return kind(
        image_processor=transformers.Qwen2VLImageProcessor(size=size), tokenizer=tokenizer,
        video_processor=transformers.Qwen2VLVideoProcessor(size=size), chat_template=CHAT,
    )  # fmt: skip


def save_tiny_qwen(folder: Path, family: str = "qwen2_5_vl", seed: int = 0, shard_size: str = "1GB") -> Path:
    """Write a Qwen-VL of 64 channels and 2 + 2 layers, with its processor; `shard_size` such as '200KB' makes many files."""
    tokenizer = tiny_tokenizer()
    marks = {
        "image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>",
    }  # fmt: skip
    ids = {name: tokenizer.convert_tokens_to_ids(mark) for name, mark in marks.items()}
    torch.manual_seed(seed)
    network = (_qwen3 if family.startswith("qwen3") else _qwen2)(family, _text_config(tokenizer), ids)
    for weight in network.parameters():
        if weight.ndim > 1:  # larger than usual, so that the best token is clearly the best, and another one for other pictures
            torch.nn.init.normal_(weight, std=0.2)
    # as the published ones: sampling and a penalty that a greedy answer must not see
    network.generation_config.update(do_sample=True, temperature=0.5, top_k=20, repetition_penalty=1.05)
    network.generation_config.update(eos_token_id=[tokenizer.eos_token_id], pad_token_id=tokenizer.pad_token_id)
    network.save_pretrained(folder, max_shard_size=shard_size)
    _processor(family, tokenizer).save_pretrained(folder)
    return folder
