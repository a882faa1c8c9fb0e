"""What `dyad evaluate --json` prints, as types."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from reports.documents import Figures, Metrics, ReliabilityFigures

Gains = Mapping[str, Sequence[float]]
"""By figure (uar, war, macro_f1, weighted_f1), a difference, and where it is known from where to where 95 % of its draws lie."""


class ModalityFigures(TypedDict):
    """One modality's part: `alone` is of what it answers by itself, `without` of everything by the others, `adds` what all of
    them gain over `without`."""

    alone: Figures | None
    without: Figures | None
    adds: Gains


class AgreementFigures(TypedDict):
    """Krippendorff's alpha (nominal) of the raters, and with Dyad as one more; None where only one label occurs.

    units: what was labelled by two raters or more, `unit` is clips or windows.
    """

    raters: Sequence[str]
    unit: str
    units: int
    alpha: float | None
    alpha_with_dyad: float | None


class EvaluationFigures(TypedDict):
    """How the answers in one folder agree with the labels, by kind of label (compounds, emotions) and what is counted.

    trivial: the share of the most frequent label, by kind and what is counted.
    """

    results: str
    clips: Mapping[str, int]
    level: str
    metrics: Metrics
    trivial: Mapping[str, Mapping[str, float]]
    reliability: Mapping[str, ReliabilityFigures]
    speakers: Mapping[str, Mapping[str, Figures]]
    modalities: Mapping[str, Mapping[str, ModalityFigures]]
    agreement: AgreementFigures | None
    notes: Sequence[str]


class EvaluationDocument(TypedDict):
    """The whole: one folder or two, and by how much the second exceeds the first."""

    dyad: str
    labels: str
    results: Sequence[EvaluationFigures]
    differences: Mapping[str, Mapping[str, Gains]]
