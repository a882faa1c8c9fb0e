"""Where the training of the voice takes its speaker encoder from: Resemblyzer's weights, out of the package's pinned wheel."""

import io
import pickle
import re
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from data.errors import WeightsError
from modalities.voice.speaker import LAYERS, SpeakerStates, packed, unpacked

MODEL = "speaker-encoder"
MEMBER = "resemblyzer/pretrained.pt"
LAYER = re.compile(r"lstm\.(?:weight|bias)_[ih]h_l(\d+)")


def read_speaker(archive: Path) -> SpeakerStates:
    """The encoder's first layers with weights rounded as they will be kept; WeightsError when `archive` does not hold them."""
    network = SpeakerStates()
    network.set_filters()
    try:
        with zipfile.ZipFile(archive) as file:
            tensors = torch.load(io.BytesIO(file.read(MEMBER)), map_location="cpu", weights_only=True)["model_state"]
        network.recurrent.load_state_dict(_layers(tensors))
    except (OSError, zipfile.BadZipFile, pickle.UnpicklingError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise WeightsError(
            f"{archive} does not hold {MEMBER} as Dyad knows it ({said}); remove it and run 'dyad models download {MODEL}'."
        ) from error
    network.load_state_dict(unpacked(packed(network.state_dict())))
    return network.eval()


def _layers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the layers that are used, without the release's prefix."""
    found = ((name, LAYER.fullmatch(name)) for name in tensors)
    return {name.removeprefix("lstm."): tensors[name] for name, match in found if match and int(match[1]) < LAYERS}
