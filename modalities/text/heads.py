"""The heads that turn MiniLM's token states into emotions: one for comments, one for what is said in a dialogue."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from modalities.encoders.minilm import WIDTH

EARLIER = 3
"""How many of the texts said before are heard with each."""
SURE = 30.0
"""Log odds that leave no doubt."""


class EmotionHead(nn.Module):
    """From a mean token state [B, 384] to 7 logits: dropout and one linear map on the normalised state."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Linear(WIDTH, 7)

    def forward(self, pooled: Tensor) -> Tensor:
        """Mean token states [B, 384] -> logits [B, 7]."""
        return cast(Tensor, self.logits(self.dropout(self.norm(pooled))))


class DialogueHead(nn.Module):
    """What a text means where people talk: its mean token state and those of up to three texts said before -> 7 logits.

    One hidden layer of 256 hears the text itself and, each in a narrow form of its own, the earlier ones. `said` tells
    from the text alone how likely it is a line of a dialogue rather than a comment.
    """

    def __init__(self, hidden: int = 256, narrow: int = 96, dropout: float = 0.3) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.own, self.narrow = nn.Linear(WIDTH, hidden), nn.Linear(WIDTH, narrow)
        self.earlier = nn.Linear(EARLIER * narrow, hidden, bias=False)
        self.logits, self.said = nn.Linear(hidden, 7), nn.Linear(WIDTH, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, pooled: Tensor, earlier: Tensor) -> Tensor:
        """Mean token states [B, 384], and the indices [B, 3] in them of what was said before (-1: nothing) -> logits [B, 7]."""
        normal = self.norm(pooled)
        narrow = self.narrow(self.dropout(normal))
        heard = torch.cat([narrow, narrow.new_zeros(1, narrow.shape[1])])[earlier].flatten(1)
        hidden = functional.gelu(self.own(self.dropout(normal)) + self.earlier(heard))
        return cast(Tensor, self.logits(self.dropout(hidden)))

    def said_logit(self, pooled: Tensor) -> Tensor:
        """Mean token states [B, 384] -> log odds [B] that a text is a line of a dialogue; it does not shape the states."""
        return cast(Tensor, self.said(self.norm(pooled).detach())[:, 0])


def dialogue_head(tensors: Mapping[str, Tensor]) -> DialogueHead:
    """The head of these weights, as wide as they are, in evaluation mode."""
    head = DialogueHead(*tensors["own.weight"].shape[:1], *tensors["narrow.weight"].shape[:1])
    head.load_state_dict({name: value.float() for name, value in tensors.items()})
    return head.requires_grad_(False).eval()


def mixed_logits(pooled: Tensor, earlier: Tensor, spoken: Tensor, comments: EmotionHead, dialogue: DialogueHead) -> Tensor:
    """Log probabilities [B, 7] of both heads' mixture, each weighted by how likely the text is of its kind.

    Texts that are known to be `spoken` [B] are lines of a dialogue for sure; `earlier` [B, 3] as for `DialogueHead`.
    """
    said = dialogue.said_logit(pooled).masked_fill(spoken, SURE)[:, None]
    as_said = functional.logsigmoid(said) + dialogue(pooled, earlier).log_softmax(1)
    as_comment = functional.logsigmoid(-said) + comments(pooled).log_softmax(1)
    return torch.logaddexp(as_said, as_comment)
