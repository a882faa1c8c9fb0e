"""The seven basic emotions, compounds of two of them, and the words other corpora use for them."""

from dataclasses import dataclass

from data.errors import InputError

BASIC_EMOTIONS: tuple[str, ...] = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise")
"""The order of every probability vector in Dyad."""

EMOTION_WORDS: dict[str, str] = {
    "neutral": "neutral", "calm": "neutral", "neutrality": "neutral",
    "anger": "anger", "angry": "anger",
    "disgust": "disgust", "disgusted": "disgust",
    "fear": "fear", "fearful": "fear", "afraid": "fear",
    "happiness": "happiness", "happy": "happiness", "joy": "happiness",
    "sadness": "sadness", "sad": "sadness",
    "surprise": "surprise", "surprised": "surprise",
}
"""Label words of public corpora and models -> the basic emotion they mean."""


@dataclass(frozen=True)
class Compound:
    """A compound expression: `name` in snake case and the two basic emotions it joins."""

    name: str
    first: str
    second: str

    def __post_init__(self) -> None:
        if self.first == self.second:
            raise InputError(f"The compound '{self.name}' joins {self.first} with itself; name two different emotions.")
        for emotion in (self.first, self.second):
            if emotion not in BASIC_EMOTIONS:
                raise InputError(
                    f"The compound '{self.name}' names '{emotion}', which is not a basic emotion; "
                    f"use two of: {', '.join(BASIC_EMOTIONS)}."
                )

    @property
    def title(self) -> str:
        """The name as people write it: 'fearfully surprised'."""
        return self.name.replace("_", " ")

    @property
    def pair(self) -> tuple[int, int]:
        """Positions of the two emotions in `BASIC_EMOTIONS`."""
        return BASIC_EMOTIONS.index(self.first), BASIC_EMOTIONS.index(self.second)


ABAW_COMPOUNDS: tuple[Compound, ...] = (
    Compound("fearfully_surprised", "fear", "surprise"),
    Compound("happily_surprised", "happiness", "surprise"),
    Compound("sadly_surprised", "sadness", "surprise"),
    Compound("disgustedly_surprised", "disgust", "surprise"),
    Compound("angrily_surprised", "anger", "surprise"),
    Compound("sadly_fearful", "sadness", "fear"),
    Compound("sadly_angry", "sadness", "anger"),
)
"""The seven compounds of the ABAW challenge, in the challenge's order (specification of the C-EXPR-DB task)."""


def basic_emotion(word: str) -> str:
    """Return the basic emotion that a corpus or model calls `word`; InputError when it is none of the known words."""
    try:
        return EMOTION_WORDS[word.strip().lower()]
    except KeyError:
        raise InputError(
            f"'{word}' is not a known emotion word; known are: {', '.join(sorted(EMOTION_WORDS))}."
        ) from None
