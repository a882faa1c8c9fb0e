"""The models of `benchmarks/gpu/run.py`: full-size architectures with random weights, made on the device that will run them.

Sizes are those of the published configurations. Each function makes a model as the product's loader leaves it, and gives it
with the product's batch function and synthetic inputs; `tiny` makes the same of a few channels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.gpu.measure import Workload
from benchmarks.gpu.qwen import qwen2_5_vl, qwen3_vl
from data.emotions import BASIC_EMOTIONS
from data.precision import Precision
from data.scores import Source
from modalities.encoders.clip import ClipEncoder
from modalities.loading.devices import precision_of

Build = Callable[[str, Precision, bool], Workload]
RANDOM = Source("random", "random weights", "", "")
FRAME, CROP = (540, 960, 3), (112, 112, 3)
WORDS = ("so", "then", "she", "looked", "at", "him", "and", "said", "that", "nothing", "would", "ever", "be", "the", "same")
SEVEN = dict(enumerate(BASIC_EMOTIONS))


@dataclass(frozen=True)
class Case:
    """A row of the table: what runs, on what items, the share of the peak that is its goal (or None), and how it is built."""

    name: str
    what: str
    items: str
    share: float | None
    build: Build


def noise(*shape: int, kinds: int = 16) -> list[NDArray[np.uint8]]:
    """Images of random levels."""
    random = np.random.default_rng(0)
    return [random.integers(0, 256, shape, dtype=np.uint8) for _ in range(kinds)]


def waves(*seconds: float) -> list[NDArray[np.float32]]:
    """Random audio at 16 kHz of these lengths."""
    random = np.random.default_rng(0)
    return [random.normal(0, 0.1, round(16_000 * length)).astype(np.float32) for length in seconds]


# ---- CLIP and heads over it ----------------------------------------------------------------------------------------------


def clip_of(architecture: str, device: str, precision: Precision, tiny: bool) -> ClipEncoder:
    """A CLIP as `modalities.encoders.clip.load_clip` leaves it, without a tokenizer."""
    import open_clip
    from open_clip.model import set_model_preprocess_cfg
    from open_clip.transform import PreprocessCfg, image_transform_v2

    small: dict[str, Any] = {
        "embed_dim": 512, "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16, "head_width": 32},
        "text_cfg": {"context_length": 32, "vocab_size": 400, "width": 64, "heads": 2, "layers": 2},
    }  # fmt: skip
    config: dict[str, Any] = small if tiny else open_clip.get_model_config(architecture)
    images = PreprocessCfg(size=config["vision_cfg"]["image_size"])
    with torch.device(device):
        network = open_clip.CLIP(**config)
    set_model_preprocess_cfg(network, vars(images))
    dtype = precision_of(device, precision)
    network = network.requires_grad_(False).to(dtype=dtype).eval()
    transform, width = image_transform_v2(images, is_train=False), config["embed_dim"]
    return ClipEncoder(network, transform, None, RANDOM, device, dtype, width, 100.0)


def clip_frames(architecture: str, device: str, precision: Precision, tiny: bool) -> Workload:
    """Scene labels: frames, shrunk by the thread of their clip."""
    from modalities.encoders.clip import each_picture, shrunk

    model = clip_of(architecture, device, precision, tiny)
    return Workload(model, each_picture, noise(*FRAME), shrunk, 32, 64 if tiny else 4096)


def clip_crops(architecture: str, device: str, precision: Precision, tiny: bool) -> Workload:
    """The dynamic face's features of crops."""
    from modalities.dynamic_face.clip_temporal import encode_crops

    model = clip_of(architecture, device, precision, tiny)
    return Workload(model, encode_crops, noise(*CROP), first=32, most=64 if tiny else 4096)


def video_mamba(device: str, precision: Precision, tiny: bool) -> Workload:
    """The head of RAS on 20 features a window, in float32 as the product runs it."""
    from modalities.dynamic_face.temporal_heads import TemporalHead, answer_sequences
    from modalities.dynamic_face.video_mamba import VideoMamba, VideoMambaShape

    with torch.device(device):
        network = VideoMamba(VideoMambaShape(width=32, rank=2, hidden=16) if tiny else VideoMambaShape())
    network = network.eval().requires_grad_(False)
    head = TemporalHead(network, "VideoMamba", network.features, network.width, tuple(range(7)), RANDOM, device, torch.float32)
    random = np.random.default_rng(0)
    inputs = [random.normal(0, 1, (20, network.features)).astype(np.float32) for _ in range(16)]
    return Workload(head, answer_sequences, inputs, first=32, most=64 if tiny else 4096)


# ---- Faces ---------------------------------------------------------------------------------------------------------------


def vit_face(device: str, precision: Precision, tiny: bool) -> Workload:
    """A ViT-B/16 for faces of 224 pixels."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    from modalities.static_face.image_classifier import ImageClassifier, describe_images

    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, "image_size": 32}
    config = ViTConfig(id2label=SEVEN, **small if tiny else {})
    side, dtype = {"height": config.image_size, "width": config.image_size}, precision_of(device, precision)
    with torch.device(device):
        network = ViTForImageClassification(config).requires_grad_(False).to(dtype).eval()
    model = ImageClassifier(
        network, ViTImageProcessor(size=side), BASIC_EMOTIONS, np.eye(7, dtype=np.float32), 0, False, RANDOM, device, dtype
    )
    return Workload(model, describe_images, noise(*CROP), first=32, most=64 if tiny else 2048)


def static_face(device: str, precision: Precision, tiny: bool) -> Workload:
    """The shipped network for faces; `float32` means the plain loop, which leaves out its half precision."""
    from modalities.static_face.embedded import load

    model, plain = load(None, device), precision == "float32"
    if plain:
        model.network.float()
    return Workload(model, _score_crops_in_float32 if plain else _score_crops, noise(*CROP), first=64, most=64 if tiny else 8192)


def _score_crops(model: Any, crops: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
    from modalities.static_face.embedded import describe_images

    return list(describe_images(model, np.stack(crops), len(crops)).basic)


def _score_crops_in_float32(model: Any, crops: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
    from modalities.static_face.network import resize, standardise

    grey = torch.from_numpy(np.stack(crops)).float() @ torch.tensor([0.299, 0.587, 0.114]) / 255
    with torch.inference_mode():
        logits, _ = model.network(standardise(resize(grey[:, None], model.size)).to(model.device))
    return list(logits.softmax(1).cpu().numpy())


# ---- Whisper -------------------------------------------------------------------------------------------------------------

SIZES = {
    "small": (80, 1500, 768, 12, 12, 51865, 448, 768, 12, 12),
    "large-v3-turbo": (128, 1500, 1280, 20, 32, 51866, 448, 1280, 20, 4),
}
"""Of `whisper.ModelDimensions`."""


def whisper_of(size: str, device: str, precision: Precision, tiny: bool) -> Any:
    """A recogniser as `modalities.transcript.whisper.load` leaves it, whose words are likelier than timestamps."""
    from whisper import _ALIGNMENT_HEADS, ModelDimensions, Whisper

    from modalities.transcript.decoding import Recogniser
    from modalities.transcript.whisper import settle

    with torch.device(device):
        network = Whisper(ModelDimensions(*((80, 1500, 64, 2, 2, 51865, 32, 64, 2, 2) if tiny else SIZES[size])))
        torch.nn.init.normal_(network.decoder.positional_embedding, std=0.02)
        torch.nn.init.normal_(network.decoder.token_embedding.weight, std=0.3)
        network.decoder.token_embedding.weight.data[50257:] *= 0.1  # special tokens and timestamps
    if not tiny:
        network.set_alignment_heads(_ALIGNMENT_HEADS[size])
    heads = network.alignment_heads.cpu()
    network.register_buffer("alignment_heads", None)
    return Recogniser(settle(network, device, precision), RANDOM, device, heads)


def whisper_encoder(size: str, device: str, precision: Precision, tiny: bool) -> Workload:
    """The language of pieces: the encoder, and one step of the decoder."""
    from modalities.transcript.decoding import first_heard

    model = whisper_of(size, device, precision, tiny)
    def languages(model: Any, pieces: Any) -> list[str]:
        return [heard.language for heard in first_heard(model, pieces)]

    return Workload(model, languages, waves(*([30.0] * 4)), first=4 if tiny else 8, most=8 if tiny else 256)


def whisper_words(size: str, device: str, precision: Precision, tiny: bool) -> Workload:
    """Words of pieces with their times; every piece is heard once and has as many tokens as Whisper says at most (224)."""
    from modalities.transcript.decoding import Gate, Piece, decode_pieces

    once = Gate(no_speech=1.0, shortest=30.0)
    inputs = [Piece(wave, "en", True, once) for wave in waves(*([30.0] * 4))]
    model = whisper_of(size, device, precision, tiny)
    return Workload(model, decode_pieces, inputs, first=4 if tiny else 8, most=8 if tiny else 128)


# ---- Voice and text ------------------------------------------------------------------------------------------------------

HUBERT_LARGE = {
    "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
    "do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True,
}  # fmt: skip
WHISPER_LARGE = {
    "d_model": 1280, "encoder_layers": 32, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120, "num_mel_bins": 128,
    "decoder_layers": 1,
}  # fmt: skip
TINY_RAW = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "conv_dim": [16] * 7,
            "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}  # fmt: skip
TINY_SPECTRAL = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 4, "encoder_ffn_dim": 48}


def voice_classifier(kind: str, sizes: dict[str, Any], device: str, precision: Precision, tiny: bool) -> Workload:
    """An audio classifier on 3 to 4 s of speech."""
    from transformers import AutoConfig, AutoModelForAudioClassification, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

    from modalities.speech.detect import load_detector
    from modalities.voice.audio_classifier import AudioClassifier, body_of, hear
    from modalities.voice.padded_speech import bears_padding, keep_last_state
    from modalities.voice.speech_models import settle

    spectral = kind == "whisper"
    config = AutoConfig.for_model(kind, id2label=SEVEN, **((TINY_SPECTRAL if spectral else TINY_RAW) if tiny else sizes))
    with torch.device(device):
        network = AutoModelForAudioClassification.from_config(config)
    dtype = precision_of(device, precision)
    network = settle(network, device, dtype)
    keep_last_state(body_of(network))
    extractor = WhisperFeatureExtractor(feature_size=config.num_mel_bins) if spectral else Wav2Vec2FeatureExtractor()
    padded = bears_padding(config) and device != "cpu"
    model = AudioClassifier(network, extractor, np.eye(7, dtype=np.float32), load_detector(), RANDOM, device, dtype, padded)
    return Workload(model, hear, waves(*np.linspace(3, 4, 8)), first=8, most=8 if tiny else 256 if spectral else 1024)


def distilroberta(device: str, precision: Precision, tiny: bool) -> Workload:
    """A DistilRoBERTa on texts of 20 words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import RobertaConfig, RobertaForSequenceClassification

    from modalities.text.classifier import answer_pieces, pieces_of
    from modalities.text.models import TextClassifier

    small = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 400}
    sizes = {"num_hidden_layers": 2 if tiny else 6, "max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1}
    config = RobertaConfig(id2label=SEVEN, **(sizes | (small if tiny else {"vocab_size": 50265})))
    with torch.device(device):
        network = RobertaForSequenceClassification(config).to(precision_of(device, precision)).eval().requires_grad_(False)
    tokenizer = Tokenizer(models.WordLevel({word: 10 + index for index, word in enumerate(sorted(set(WORDS)))}))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    model = TextClassifier(network, tokenizer, np.eye(7, dtype=np.float32), False, 512, 1, "first", device, RANDOM)
    random = np.random.default_rng(0)
    pieces, _, _ = pieces_of(model, [" ".join(random.choice(WORDS, 20 + turn % 9)) for turn in range(64)])
    return Workload(model, answer_pieces, sorted(pieces, key=len), first=64, most=128 if tiny else 8192)


# ---- All of them ---------------------------------------------------------------------------------------------------------

CASES = (
    Case("clip-l-14", "CLIP ViT-L/14", "frames of 960x540", 0.4, partial(clip_frames, "ViT-L-14")),
    Case("whisper-turbo-encoder", "Whisper large-v3-turbo, encoder", "pieces of 30 s", 0.4,
         partial(whisper_encoder, "large-v3-turbo")),
    Case("whisper-turbo-words", "Whisper large-v3-turbo, words with times", "pieces of 30 s", None,
         partial(whisper_words, "large-v3-turbo")),
    Case("qwen2.5-vl-7b", "Qwen2.5-VL-7B", "windows of 8 pictures", None, qwen2_5_vl),
    Case("qwen3-vl-4b", "Qwen3-VL-4B", "windows of 8 pictures", None, qwen3_vl),
    Case("hubert-large", "HuBERT-large", "3 to 4 s of speech", None, partial(voice_classifier, "hubert", HUBERT_LARGE)),
    Case("wavlm-base-plus", "WavLM-base-plus", "3 to 4 s of speech", None, partial(voice_classifier, "wavlm", {})),
    Case("wav2vec2-base", "wav2vec2-base", "3 to 4 s of speech", None, partial(voice_classifier, "wav2vec2", {})),
    Case("whisper-large-voice", "Whisper large-v3, encoder with classifier", "3 to 4 s of speech", 0.4,
         partial(voice_classifier, "whisper", WHISPER_LARGE)),
    Case("distilroberta", "DistilRoBERTa", "texts of 20 to 28 words", None, distilroberta),
    Case("vit-b-face", "ViT-B/16", "crops of 112x112", None, vit_face),
    Case("clip-b-32", "CLIP ViT-B/32", "frames of 960x540", 0.4, partial(clip_frames, "ViT-B-32-quickgelu")),
    Case("clip-b-32-faces", "CLIP ViT-B/32", "crops of 112x112", 0.4, partial(clip_crops, "ViT-B-32-quickgelu")),
    Case("video-mamba", "VideoMamba on CLIP features", "windows of 20 crops", None, video_mamba),
    Case("static-face", "our static face (shipped weights)", "crops of 112x112", None, static_face),
    Case("whisper-small-encoder", "Whisper small, encoder", "pieces of 30 s", 0.4, partial(whisper_encoder, "small")),
    Case("whisper-small-words", "Whisper small, words with times", "pieces of 30 s", None, partial(whisper_words, "small")),
)
"""Every model, what matters most first: a run that ends early has that."""
