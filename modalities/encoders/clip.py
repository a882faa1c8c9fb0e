"""CLIP: opening a checkpoint that lies on this machine, and encoding pictures and texts in batches.

One loaded network serves every modality that needs one. Everything goes through open_clip: its architectures by name, folders in
the hub's layout (open_clip_config.json with weights and, for SigLIP and others, tokenizer files), or single files of weights.
"""

import contextlib
import json
import logging
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data.errors import WeightsError
from data.files import file_digest
from data.json_files import read_json
from data.precision import Precision
from data.scores import Source
from modalities.loading.devices import precision_of
from modalities.model_store.local import CLIP_FILES, is_torchscript, known_clip

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor

FloatArray = NDArray[np.float32]
Picture = NDArray[np.uint8]
CONFIG = "open_clip_config.json"
WEIGHT_FILES = (*CLIP_FILES, "open_clip_pytorch_model.safetensors", "model.safetensors", "pytorch_model.bin")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
                   "vocab.json", "vocab.txt")  # fmt: skip
TEXTS_AT_ONCE = 256
PREPROCESSING = ("mean", "std", "interpolation", "resize_mode", "size")


@dataclass(frozen=True)
class ClipEncoder:
    """A CLIP network in evaluation mode, ready to encode.

    `preprocess` is open_clip's own transform of one PIL picture; `prepared` gives the same for many at once. Embeddings have
    `width` numbers. `logit_scale` is the factor (about 100) that the network was trained to put on cosines; a SigLIP also has
    a `logit_bias`, which a softmax over labels does not see.
    """

    network: Any
    preprocess: "Callable[[Image], Tensor]"
    tokenizer: Any
    source: Source
    device: str
    dtype: "torch.dtype"
    width: int
    logit_scale: float
    logit_bias: float | None = None


def load_clip(
    checkpoint: Path, architecture: str = "", tag: str = "", *, device: str = "cpu", precision: Precision = "auto"
) -> ClipEncoder:
    """Open CLIP weights: safetensors, or a state dict read as weights only; a file, or a folder in the hub's layout.

    `architecture` and `tag` are open_clip's names; the tag says how pictures are normalised. An empty architecture is taken
    from the open_clip_config.json beside the weights, else from a known repository's name in the path. A tokenizer of
    transformers is read from the files beside the weights. WeightsError for what is missing, damaged or of another kind.
    """
    file = weights_file(checkpoint)
    architecture, tag = names_of(file, architecture, tag)
    config = _configuration(file, architecture, tag)
    network, tokenizer = _opened(file, config, architecture)
    network.requires_grad_(False)
    scale, bias = network.logit_scale.exp().item(), getattr(network, "logit_bias", None)  # before half precision rounds them
    dtype = precision_of(device, precision)
    name = f"{architecture} {tag}".strip() or file.parent.name
    return ClipEncoder(
        network.to(device=device, dtype=dtype).eval(),
        _transform(network),
        tokenizer,
        Source("open_clip", name, file_digest(file)[:12], f"whole picture, {str(dtype).removeprefix('torch.')}"),
        device,
        dtype,
        int(config["model_cfg"]["embed_dim"]),
        scale,
        None if bias is None else bias.item(),
    )


def weights_file(checkpoint: Path) -> Path:
    """The file of weights that `checkpoint` is, or that lies in this folder; WeightsError when there is none."""
    if checkpoint.is_dir():
        found = next((checkpoint / name for name in WEIGHT_FILES if (checkpoint / name).is_file()), None)
        if found is None:
            raise WeightsError(f"There are no CLIP weights in {checkpoint}; it should hold one of: {', '.join(WEIGHT_FILES)}.")
        return found
    if not checkpoint.is_file():
        raise WeightsError(f"There is no CLIP checkpoint at {checkpoint}; give the path of an existing file or folder.")
    return checkpoint


def names_of(checkpoint: Path, architecture: str = "", tag: str = "") -> tuple[str, str]:
    """Architecture and tag of a checkpoint, completed by its place in the hub's cache; empty where its config says them.

    The tag matters even where the architecture is given: without it pictures are normalised as OpenAI did.
    """
    _, known, known_tag = known_clip(checkpoint)
    if not architecture and not checkpoint.with_name(CONFIG).is_file():
        architecture = known
    return architecture, tag or (known_tag if architecture == known else "")


def _configuration(file: Path, architecture: str, tag: str) -> dict[str, Any]:
    """What an open_clip_config.json says, of the named architecture or from beside the weights."""
    config = named_config(file, architecture, tag) if architecture else _from_folder(file)
    text = config["model_cfg"]["text_cfg"]
    if "hf_model_name" in text:
        if not file.with_name("config.json").is_file():
            raise WeightsError(
                f"The text network of {file} is described elsewhere ('{text['hf_model_name']}'); put its config.json into "
                f"{file.parent}, or use another CLIP."
            )
        text["hf_model_name"] = str(file.parent)
    return config


def named_config(file: Path, architecture: str, tag: str) -> dict[str, Any]:
    """The config of an architecture that open_clip knows by name, with the picture preprocessing of the tag's weights.

    WeightsError, which names `file`, when open_clip does not know it.
    """
    import open_clip

    config = open_clip.get_model_config(architecture)
    if config is None:
        raise WeightsError(f"open_clip has no architecture '{architecture}' for {file}; name one that it lists.")
    pictures = (open_clip.get_pretrained_cfg(architecture, tag) if tag else None) or {}
    return {"model_cfg": config, "preprocess_cfg": {key: pictures[key] for key in PREPROCESSING if pictures.get(key)}}


def _from_folder(file: Path) -> dict[str, Any]:
    path = file.with_name(CONFIG)
    if not path.is_file():
        raise WeightsError(f"The architecture of {file} is not known; name it, or put its {CONFIG} beside it.")
    try:
        config = read_json(path)
        config["model_cfg"]["text_cfg"], config["model_cfg"]["vision_cfg"], int(config["model_cfg"]["embed_dim"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise WeightsError(f"{path} is not a configuration of open_clip ({_said(error)}); copy the file again.") from error
    return dict(config)


def _opened(file: Path, config: dict[str, Any], architecture: str) -> tuple[Any, Any]:
    """Network (float32, on the processor) and tokenizer; every failure is a WeightsError naming the file."""
    if is_torchscript(file):
        raise WeightsError(f"{file} is a TorchScript archive, which carries a program; give weights alone.")
    from safetensors import SafetensorError

    # a state dict of another architecture can fail anywhere in open_clip's conversions, assertions included
    broken = (RuntimeError, AssertionError, AttributeError, LookupError, TypeError, ValueError, StopIteration)
    unreadable = (SafetensorError, pickle.UnpicklingError, EOFError, OSError)
    with _untouched_root_logger(), tempfile.TemporaryDirectory() as folder:
        Path(folder, CONFIG).write_text(json.dumps(config), encoding="utf-8")
        tokenizer = _tokenizer(file, config, folder)
        try:
            return _network(file, folder), tokenizer
        except (*broken, *unreadable) as error:
            kind = architecture or "the architecture in its config"
            raise WeightsError(
                f"{file} does not hold the weights of {kind} ({_said(error)}); name its architecture or copy the file again."
            ) from error


def _network(file: Path, folder: str) -> Any:
    """A network by the config in `folder` with weights from `file`; nothing is downloaded for parts of it."""
    import open_clip

    network = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_image=False, pretrained_text=False)
    open_clip.load_checkpoint(network, str(file.absolute()), weights_only=True)
    return network


def _tokenizer(file: Path, config: dict[str, Any], folder: str) -> Any:
    """open_clip's own tokenizer, or that of transformers from the files beside the weights."""
    import open_clip

    text = config["model_cfg"]["text_cfg"]
    if not text.get("hf_tokenizer_name"):
        return open_clip.get_tokenizer(f"local-dir:{folder}")
    from open_clip.tokenizer import HFTokenizer

    wanted = f"'{text['hf_tokenizer_name']}' ({', '.join(TOKENIZER_FILES[:2])}) into {file.parent}, or use another CLIP."
    if not any(file.with_name(name).is_file() for name in TOKENIZER_FILES):
        raise WeightsError(f"The tokenizer of {file} is not on this machine; put the tokenizer files of {wanted}")
    try:
        return HFTokenizer(
            str(file.parent.absolute()),
            context_length=text.get("context_length", 77),
            tokenizer_mode=text.get("tokenizer_mode"),
            local_files_only=True,
            trust_remote_code=False,
            **text.get("tokenizer_kwargs", {}),
        )
    except Exception as error:  # the library tokenizers raises bare Exceptions for damaged files
        raise WeightsError(f"The tokenizer of {file} cannot be read ({_said(error)}); put the files of {wanted}") from error


def _said(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]


@contextlib.contextmanager
def _untouched_root_logger() -> Iterator[None]:
    """open_clip logs to the root logger, which would give it a handler on stderr for the rest of the process.

    What it says there is dropped: that weights are random, though they are read a moment later.
    """
    handler = logging.NullHandler()
    logging.root.addHandler(handler)
    logging.root.addFilter(_not_of_open_clip)
    try:
        yield
    finally:
        logging.root.removeFilter(_not_of_open_clip)
        logging.root.removeHandler(handler)


def _not_of_open_clip(record: logging.LogRecord) -> bool:
    return "open_clip" not in Path(record.pathname).parts


def _transform(network: Any) -> "Callable[[Image], Tensor]":
    from open_clip.transform import PreprocessCfg, image_transform_v2

    transform: Callable[[Image], Tensor] = image_transform_v2(PreprocessCfg(**network.visual.preprocess_cfg), is_train=False)
    return transform


def encode_pictures(clip: ClipEncoder, pictures: Sequence[Picture]) -> FloatArray:
    """Embeddings of unit length [B, D] of RGB pictures uint8 [H, W, 3] of any sizes."""
    return unit(picture_features(clip, pictures))


def picture_features(clip: ClipEncoder, pictures: Sequence[Picture]) -> FloatArray:
    """Embeddings [B, D] of RGB pictures uint8 [H, W, 3] as the network projects them, not of unit length."""
    import torch

    if not len(pictures):
        return np.zeros((0, clip.width), np.float32)
    with torch.inference_mode():
        return _to_numpy(clip.network.encode_image(prepared(clip, pictures).to(clip.dtype), normalize=False))


def each_picture(clip: ClipEncoder, pictures: list[Picture]) -> list[FloatArray]:
    """`encode_pictures` as work for `modalities.loading.batching`: a unit embedding [D] for each picture."""
    return list(encode_pictures(clip, pictures))


def shrunk(clip: ClipEncoder, picture: Picture) -> Picture:
    """A picture resized and cropped as the network wants it: uint8 [h, w, 3]; it is encoded as the picture itself would be.

    For the threads that bring pictures: a queue copies and sends a tenth of the bytes, while the network is not kept waiting.
    """
    levels = _resized(clip, picture[None], "cpu")[0].permute(1, 2, 0)
    return np.asarray(levels.contiguous().numpy(), np.uint8)


def encode_texts(clip: ClipEncoder, texts: Sequence[str]) -> FloatArray:
    """Embeddings of unit length [P, D] of texts; what is longer than the network's context is cut off."""
    import torch

    rows = [np.zeros((0, clip.width), np.float32)]
    with torch.inference_mode():
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            tokens = clip.tokenizer(list(texts[start : start + TEXTS_AT_ONCE])).to(clip.device)
            rows.append(unit(_to_numpy(clip.network.encode_text(tokens, normalize=False))))
    return np.concatenate(rows)


def unit(vectors: FloatArray) -> FloatArray:
    """Rows [B, D] scaled to length 1, in float32; a row of zeros stays."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)


def _to_numpy(tensor: "Tensor") -> FloatArray:
    return np.asarray(tensor.float().cpu().numpy(), np.float32)


def prepared(clip: ClipEncoder, pictures: Sequence[Picture]) -> "Tensor":
    """Pictures as the network wants them: float32 [B, 3, H, W] on its device.

    Pictures of one size are resized together, on the GPU where there is one. That is open_clip's transform of each PIL picture
    but for one level of 255 in a few pixels of a thousand, and eight times as fast.
    """
    import torch

    groups: dict[tuple[int, ...], list[int]] = {}
    for number, picture in enumerate(pictures):
        groups.setdefault(picture.shape, []).append(number)
    parts = [_resized(clip, np.stack([pictures[number] for number in group]), clip.device) for group in groups.values()]
    order = torch.tensor([number for group in groups.values() for number in group]).argsort()
    levels = torch.cat(parts)[order.to(parts[0].device)].to(clip.device)
    settings = clip.network.visual.preprocess_cfg
    mean, std = (torch.tensor(settings[name], device=clip.device).view(1, 3, 1, 1) for name in ("mean", "std"))
    return (levels.float() / 255 - mean) / std


def _resized(clip: ClipEncoder, pictures: Picture, device: str) -> "Tensor":
    """Pictures [B, H, W, 3] of one size resized and cropped as the network wants, on a device: uint8 [B, 3, h, w]."""
    import torch
    from open_clip.transform import center_crop_or_pad
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2.functional import resize

    settings = clip.network.visual.preprocess_cfg
    size = settings["size"] if isinstance(settings["size"], list | tuple) else (settings["size"], settings["size"])
    mode = InterpolationMode.BILINEAR if settings["interpolation"] == "bilinear" else InterpolationMode.BICUBIC
    levels = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    height, width = resized_shape(pictures.shape[1:3], size, settings["resize_mode"])
    if device.startswith("cuda"):  # in two passes with whole levels in between, as PIL does it
        levels = resize(levels.to(device), [pictures.shape[1], width], mode)
    levels = resize(levels, [height, width], mode)
    ready: Tensor = levels if settings["resize_mode"] == "squash" else center_crop_or_pad(levels, size, settings["fill_color"])
    return ready


def resized_shape(shape: Sequence[int], size: Sequence[int], mode: str) -> tuple[int, int]:
    """Height and width to which a picture of `shape` is resized before it is cropped or padded to `size`.

    `mode` is open_clip's: the picture is squashed into `size`, or keeps its proportions and fills it (shortest) or fits into
    it (longest).
    """
    if mode == "squash":
        return size[0], size[1]
    if mode == "shortest" and size[0] == size[1]:  # torchvision rounds down here
        longer = int(size[0] * max(shape[:2]) / min(shape[:2]))
        return (size[0], longer) if shape[0] <= shape[1] else (longer, size[0])
    ratios = shape[0] / size[0], shape[1] / size[1]
    ratio = max(ratios) if mode == "longest" else min(ratios)
    return round(shape[0] / ratio), round(shape[1] / ratio)
