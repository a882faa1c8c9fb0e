"""Tiny text classifiers with random weights and trained tokenizers, as `save_pretrained` writes them."""

from pathlib import Path
from typing import Any

import torch

import modalities  # noqa: F401 (torchvision's operators before transformers)

SENTENCES = [
    "I am so happy to see you, what a wonderful surprise!",
    "How could you do that to me? I am furious.",
    "He died last night, and nothing will ever be the same.",
    "There is someone in the house; please be quiet.",
    "That smells disgusting. Take it away!",
    "The train leaves at nine from platform two.",
]
EKMAN = ["anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise"]
KINDS = ("roberta", "bert", "distilbert", "xlm-roberta", "deberta-v2")


def save_tiny_classifier(
    folder: Path, kind: str = "roberta", labels: list[str] | None = None, seed: int = 0, positions: int = 40, **config: Any
) -> Path:
    """Write a sequence classifier of 32 channels and 2 layers, at most `positions` tokens long, with its tokenizer."""
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(seed)
    save_tiny_tokenizer(folder, kind)
    network = AutoModelForSequenceClassification.from_config(tiny_config(kind, labels or EKMAN, positions, **config))
    draw_far(network)
    network.save_pretrained(folder)
    return folder


def draw_far(network: torch.nn.Module) -> None:
    """Draw weights far from the usual start values, at which all texts and classes are alike."""
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)


def tiny_config(kind: str, labels: list[str], positions: int, **more: Any) -> Any:
    """A config of the given kind; kinds of the RoBERTa family start their positions after the padding token's number."""
    from transformers import AutoConfig

    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    if kind == "distilbert":
        sizes = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}
    offset = 2 if "roberta" in kind else 0
    names = dict(enumerate(labels))
    return AutoConfig.for_model(
        kind, max_position_embeddings=positions + offset, id2label=names,
        label2id={name: number for number, name in names.items()}, **({"vocab_size": 400, "pad_token_id": 1} | sizes | more),
    )  # fmt: skip


def save_tiny_tokenizer(folder: Path, kind: str = "roberta") -> Path:
    """Write a tokenizer trained on a few sentences: byte pairs for the RoBERTa family, word pieces for the others."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    first, last, unknown = ("<s>", "</s>", "<unk>") if "roberta" in kind else ("[CLS]", "[SEP]", "[UNK]")
    special = [first, "<pad>", last, unknown, "<mask>"]
    if "roberta" in kind:
        trained = Tokenizer(models.BPE(unk_token=unknown))
        trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trained.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer: Any = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    else:
        trained = Tokenizer(models.WordPiece(unk_token=unknown))
        trained.normalizer = normalizers.BertNormalizer()
        trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    trained.train_from_iterator(SENTENCES, trainer)
    trained.post_processor = processors.TemplateProcessing(f"{first} $A {last}", special_tokens=[(first, 0), (last, 2)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=trained, bos_token=first, cls_token=first, eos_token=last, sep_token=last, pad_token="<pad>",
        unk_token=unknown, mask_token="<mask>", model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    fast.save_pretrained(folder)
    return folder
