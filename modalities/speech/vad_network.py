"""The network of speech activity."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

RecurrentState = tuple[Tensor, Tensor]


class SpeechNetwork(nn.Module):
    """The 16 kHz network of Silero VAD (MIT), run over a whole block at once instead of chunk by chunk."""

    def __init__(self, chunk: int, context: int) -> None:
        """`chunk`: the samples that it judges at once; `context`: those before them that it also reads."""
        super().__init__()
        self.chunk, self.context = chunk, context
        self.stft = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        self.encoder = nn.ModuleList([
            nn.Conv1d(129, 128, 3, padding=1), nn.Conv1d(128, 64, 3, stride=2, padding=1),
            nn.Conv1d(64, 64, 3, stride=2, padding=1), nn.Conv1d(64, 128, 3, padding=1),
        ])
        self.recurrent = nn.LSTM(128, 128)
        self.decide = nn.Conv1d(128, 1, 1)

    def take(self, packaged: Mapping[str, Tensor]) -> None:
        """Take the weights of `silero_vad/data/silero_vad.jit`, whose recurrent cell is one step of our recurrent layer."""
        state = {"stft.weight": packaged["_model.stft.forward_basis_buffer"]}
        for kind in ("weight", "bias"):
            state |= {f"encoder.{n}.{kind}": packaged[f"_model.encoder.{n}.reparam_conv.{kind}"] for n in range(4)}
            state |= {f"recurrent.{kind}_{to}_l0": packaged[f"_model.decoder.rnn.{kind}_{to}"] for to in ("ih", "hh")}
            state[f"decide.{kind}"] = packaged[f"_model.decoder.decoder.2.{kind}"]
        self.load_state_dict(state)

    def forward(self, samples: Tensor, state: RecurrentState | None = None) -> tuple[Tensor, RecurrentState]:
        """Speech probability [N] of N chunks; `samples` [context + N * chunk] start with those before the first chunk."""
        chunks = samples.unfold(0, self.context + self.chunk, self.chunk)
        real, imaginary = self.stft(F.pad(chunks[:, None], (0, 64), mode="reflect")).chunk(2, dim=1)
        x = (real.square() + imaginary.square()).sqrt()
        for layer in self.encoder:
            x = layer(x).relu()
        hidden, state = self.recurrent(x.transpose(1, 2), state)
        return self.decide(hidden.relu().transpose(1, 2)).sigmoid().flatten(), state
