"""Write the weights that tell people apart, from the two packages that hold them and from recordings of actors.

    ./dyad benchmark derive_people_weights --data ../shared/datasets [--output modalities/weights/people.safetensors]

Needs './dyad models download mobilenet-vggface2' and 'speaker-encoder'. The encoders are kept as int8, else as they are;
the whitening of the voice is computed from utterances of RAVDESS' actors 1 to 8 and two of nEMO's, in all their emotions.
"""

import io
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import make_parser
from benchmarks.people.voices import KNOWN, speech_of, utterances
from data.errors import DyadError
from modalities.loading.checkpoint import in_eight_bits, save_checkpoint
from modalities.model_store.local import archive_file
from modalities.people.networks import BANDS, FFT_SIZE, SAMPLE_RATE, FaceNetwork, VoiceNetwork
from modalities.people.recognise import WEIGHTS, WINDOW, cut_speech
from modalities.speech.detect import Wave, load_detector
from modalities.training.faces.start import archive_path, layer_weights, read_weights

SHRINK = 1.0
"""Of the mean variance, what is added to each direction's before it is divided by: few actors know little of rare directions."""


def face_network() -> FaceNetwork:
    """The MobileNet of the npm archive, with colours."""
    network, weights = FaceNetwork(), read_weights(archive_path())
    for number, layer in enumerate(network.layers):
        kernel, bias = layer_weights(weights, number)
        if number == 0:
            kernel = weights["conv1/convolution/merged_input"].permute(3, 2, 0, 1)
        layer.weight.data, layer.bias.data = kernel.contiguous(), bias.contiguous()
    return network.eval()


def voice_network() -> VoiceNetwork:
    """Resemblyzer's encoder, without a whitening yet."""
    from transformers.audio_utils import mel_filter_bank

    with zipfile.ZipFile(archive_file("speaker-encoder", "The weights come from", "")) as archive:
        stored = archive.read("resemblyzer/pretrained.pt")
    tensors: dict[str, Tensor] = torch.load(io.BytesIO(stored), map_location="cpu", weights_only=True)["model_state"]
    network = VoiceNetwork()
    used = {name: value for name, value in tensors.items() if name.startswith(("lstm.", "linear."))}
    named = {name.replace("lstm.", "recurrent."): value for name, value in used.items()}
    network.load_state_dict(named, strict=False)
    bands = mel_filter_bank(FFT_SIZE // 2 + 1, BANDS, 0.0, SAMPLE_RATE / 2, SAMPLE_RATE, norm="slaney", mel_scale="slaney")
    network.mel.copy_(torch.from_numpy(bands.T))
    return network.eval()


@torch.inference_mode()
def set_whitening(network: VoiceNetwork, spoken: Sequence[tuple[str, Wave]]) -> None:
    """Set centre and whitening from utterances (speaker, wave): corpora count alike in the one, speakers in the other."""
    width = round(WINDOW * SAMPLE_RATE)
    found: dict[str, list[Tensor]] = {}
    for speaker, wave in spoken:
        parts = [wave[first:last] for first, last in cut_speech(np.array([[0.0, len(wave) / SAMPLE_RATE]]))]
        waves = torch.stack([torch.from_numpy(np.pad(part, (0, width - len(part)))) for part in parts if len(part) <= width])
        found.setdefault(speaker, []).append(network.states(waves).mean(0))
    means = {speaker: torch.stack(states).mean(0) for speaker, states in found.items()}
    corpora: dict[str, list[Tensor]] = {speaker[:2]: [] for speaker in means}
    for speaker, mean in means.items():
        corpora[speaker[:2]].append(mean)
    within = torch.cat([torch.stack(states) - means[speaker] for speaker, states in found.items()])
    variances, directions = torch.linalg.eigh(torch.cov(within.T))
    network.centre.copy_(torch.stack([torch.stack(group).mean(0) for group in corpora.values()]).mean(0))
    network.whitening.copy_(directions / (variances + SHRINK * variances.mean()).sqrt())
    network.whitening.mul_(variances.mean().sqrt())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, "audio/ravdess_speech and audio/nemo")
    parser.add_argument("--output", type=Path, default=WEIGHTS)
    options = parser.parse_args(arguments)
    try:
        detector, voice = load_detector(), voice_network()
        heard = ((name, speech_of(file, detector)) for name, file in utterances(options.data, KNOWN))
        spoken = [(name, wave) for name, wave in heard if wave is not None]
        set_whitening(voice, spoken)
        kept = {f"face.{name}": value for name, value in face_network().state_dict().items()}
        kept |= {f"voice.{name}": value for name, value in voice.state_dict().items()}
        exact = {"voice.mel": voice.mel, "voice.whitening": voice.whitening.half()}
        encoders = {name: value for name, value in kept.items() if name not in exact}
        settings = {"utterances": len(spoken), "speakers": len({name for name, _ in spoken})}
        save_checkpoint(options.output, {}, in_eight_bits(encoders) | exact, settings)
    except DyadError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.1f} MB, whitened by {len(spoken)} utterances")
    return 0


if __name__ == "__main__":
    sys.exit(main())
