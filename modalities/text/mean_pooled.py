"""RAS's text network (arXiv 2507.02205): an encoder, the mean of its token states, and a linear classifier."""

from torch import Tensor, nn


class MeanPooledText(nn.Module):
    """Encoder, mean over the tokens that the mask names, dropout, linear layer; its keys are those of the authors' release.

    `base_model` is an encoder of transformers with states of `width` numbers a token; its own pooler is not used.
    """

    def __init__(self, base_model: nn.Module, width: int, classes: int = 8, dropout: float = 0.1) -> None:
        super().__init__()
        self.base_model = base_model
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, classes)

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, classes] and mean states [B, width] of tokens [B, T]; the mask [B, T] (0 or 1) says which count."""
        states: Tensor = self.base_model(input_ids=tokens, attention_mask=mask).last_hidden_state
        weight = mask.unsqueeze(-1).to(states.dtype)
        mean = (states * weight).sum(1) / weight.sum(1).clamp(min=1.0)
        return self.classifier(self.dropout(mean)), mean
