"""Tiny checkpoints with random weights in the public layouts, for tests of loading and running them."""

import json
from dataclasses import asdict
from pathlib import Path

import torch

TINY_CLIP = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16, "head_width": 32},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}


def save_tiny_whisper(path: Path, seed: int = 0) -> Path:
    """Write a multilingual Whisper of 64 channels, 3 + 2 layers and 16 tokens a piece in openai-whisper's layout.

    Its words depend on the sound (sharp attention to it), and it says timestamps between words. The third layer changes nothing;
    the voice takes that many.
    """
    from whisper import ModelDimensions, Whisper
    from whisper.model import ResidualAttentionBlock

    torch.manual_seed(seed)
    dimensions = ModelDimensions(80, 1500, 64, 2, 2, 51865, 32, 64, 2, 2)
    network = Whisper(dimensions)
    torch.nn.init.normal_(network.decoder.positional_embedding)
    torch.nn.init.normal_(network.decoder.token_embedding.weight, std=0.5)
    with torch.no_grad():
        network.decoder.token_embedding.weight[50364:] *= 1.3
        for block in network.decoder.blocks:
            attention = block.cross_attn
            for layer, factor in ((attention.query, 4), (attention.key, 4), (attention.value, 2), (attention.out, 2)):
                layer.weight *= factor
        third = ResidualAttentionBlock(dimensions.n_audio_state, dimensions.n_audio_head)
        for layer in (third.attn.out, third.mlp[2]):
            layer.weight.zero_()
            layer.bias.zero_()
    network.encoder.blocks.append(third)
    dimensions.n_audio_layer = 3
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"dims": asdict(dimensions), "model_state_dict": network.state_dict()}, path)
    return path


def make_unsure(path: Path) -> None:
    """Let a Whisper that `save_tiny_whisper` wrote take every word for as likely as any other."""
    content = torch.load(path, weights_only=True)
    content["model_state_dict"]["decoder.token_embedding.weight"] *= 0.01
    torch.save(content, path)


def save_tiny_clip(folder: Path, seed: int = 0, file: str = "open_clip_model.safetensors") -> Path:
    """Write a CLIP of 64 channels and 2 + 2 layers as a folder in the hub's layout: the weights with their config."""
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    network = open_clip.CLIP(**TINY_CLIP)
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    if file.endswith(".safetensors"):
        save_file(tensors, folder / file)
    else:
        torch.save(tensors, folder / file)
    mean = [0.4, 0.4, 0.4]
    preprocessing = {"mean": mean, "std": [0.3, 0.3, 0.3], "interpolation": "bilinear", "resize_mode": "shortest"}
    config = {"model_cfg": TINY_CLIP, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder / file


TINY_SIGLIP = {
    "embed_dim": 64,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {"image_size": 64, "timm_model_name": "test_vit", "timm_model_pretrained": False, "timm_pool": "map",
                   "timm_proj": "none"},
    "text_cfg": {"context_length": 16, "vocab_size": 200, "hf_tokenizer_name": "timm/tiny-siglip",
                 "tokenizer_kwargs": {"clean": "canonicalize"}, "width": 64, "heads": 2, "layers": 2, "no_causal_mask": True,
                 "proj_bias": True, "pool_type": "last"},
}  # fmt: skip


def save_tiny_siglip(folder: Path, seed: int = 0) -> Path:
    """Write a SigLIP of 64 channels as a folder in the hub's layout: weights, config and the files of its tokenizer."""
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    preprocessing = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    config = {"model_cfg": TINY_SIGLIP, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    network = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    file = folder / "open_clip_model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, file)
    save_tiny_tokenizer(folder)
    return file


def save_tiny_tokenizer(folder: Path) -> None:
    """Write a tokenizer of 200 pieces in transformers' layout that ends each text with </s>."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["<pad>", "</s>", "<unk>"])
    tokenizer.train_from_iterator(["a photo of a happy angry sad fearful surprised disgusted neutral person and face"], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    wrapped.save_pretrained(folder)
