"""Speech networks of transformers on utterances of different lengths: what each of them would be told alone.

Of the networks that hear raw sound, those of `EXACT` answer alike alone and padded with a mask, once the first layer's group
norm (of the base sizes) leaves the padding out of its statistics: transformers' own takes them over padding and speech, which
is why its documentation has these models padded without a mask, at the price of other answers.
"""

import types
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EXACT = ("wav2vec2", "wavlm", "hubert", "unispeech", "unispeech-sat")


@dataclass(frozen=True)
class Pass:
    """One pass of a network: the samples of each padded utterance [B], or None; `states` gathers the body's last hidden state."""

    samples: Tensor | None
    states: list[Tensor] = field(default_factory=list)


_under_way: ContextVar[Pass | None] = ContextVar("speech_pass", default=None)


@contextmanager
def one_pass(samples: Tensor | None = None) -> Iterator[Pass]:
    """What the layers made by `prepare` are told during one pass, in this thread only."""
    this = Pass(samples)
    token = _under_way.set(this)
    try:
        yield this
    finally:
        _under_way.reset(token)


def bears_padding(config: Any) -> bool:
    """True for the networks whose answers padding with a mask does not change (after `prepare`)."""
    others = ("add_adapter", "conv_pos_batch_norm")  # layers in which padding reaches into the speech
    return config.model_type in EXACT and not any(getattr(config, name, False) for name in others)


def prepare(network: nn.Module) -> None:
    """Make a float32 network ready to answer: padding left out of norms, fused attention in WavLM, constant weights computed."""
    layers: list[Any] = list(network.modules())
    for module in layers:
        if nn.utils.parametrize.is_parametrized(module, "weight"):
            nn.utils.parametrize.remove_parametrizations(module, "weight")  # else its norm is taken anew in every pass
        norm, conv = getattr(module, "layer_norm", None), getattr(module, "conv", None)
        if isinstance(norm, nn.GroupNorm) and isinstance(conv, nn.Conv1d) and norm.num_groups == norm.num_channels:
            module.layer_norm = NormOfSpeech(norm, conv)
        if hasattr(module, "torch_multi_head_self_attention"):
            module.torch_multi_head_self_attention = types.MethodType(fused_attention, module)


def keep_last_state(body: nn.Module) -> None:
    """Have `body` note its last hidden state [B, T, D] in the pass under way."""

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        if (this := _under_way.get()) is not None:
            this.states.append(output.last_hidden_state)

    body.register_forward_hook(note)


class NormOfSpeech(nn.Module):
    """Group norm of one channel a group over the frames of the first layer that hold speech and no padding."""

    def __init__(self, norm: nn.GroupNorm, conv: nn.Conv1d) -> None:
        super().__init__()
        self.norm, self.kernel, self.stride = norm, conv.kernel_size[0], conv.stride[0]

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> the same; moments in float32."""
        this = _under_way.get()
        if this is None or this.samples is None:
            whole: Tensor = self.norm(x)
            return whole
        count = (torch.div(this.samples - self.kernel, self.stride, rounding_mode="floor") + 1)[:, None, None]
        inside = torch.arange(x.shape[-1], device=x.device) < count
        exact = x.float()
        mean = (exact * inside).sum(-1, keepdim=True) / count
        variance = ((exact - mean).square() * inside).sum(-1, keepdim=True) / count
        scale = torch.rsqrt(variance + self.norm.eps) * self.norm.weight.float()[:, None]
        return ((exact - mean) * scale + self.norm.bias.float()[:, None]).to(x.dtype)


def fused_attention(self: Any, hidden_states: Tensor, attention_mask: Tensor | None, gated_position_bias: Tensor) -> Any:
    """WavLM's attention with its position bias, fused; transformers has no fused form of it, and makes weights nobody reads."""
    count, length, width = hidden_states.shape
    shape = (count, length, self.num_heads, width // self.num_heads)
    query, key, value = (layer(hidden_states).view(shape).transpose(1, 2) for layer in (self.q_proj, self.k_proj, self.v_proj))
    bias = gated_position_bias.view(count, self.num_heads, length, length).to(query.dtype)
    if attention_mask is not None:
        bias = bias.masked_fill(~attention_mask.bool()[:, None, None, :], torch.finfo(bias.dtype).min)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    return self.out_proj(mixed.transpose(1, 2).reshape(count, length, width)), None
