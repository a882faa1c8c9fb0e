"""The sections of the settings: each a frozen table of fields with their defaults and meanings."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from data.batches import BATCH, LONG_BATCH
from data.emotions import BASIC_EMOTIONS
from data.errors import InputError
from data.fused import Composition, OverTime
from data.languages import code_of
from data.windows import LENGTH, SHIFT, SHORTEST, Windows, make_windows


@contextmanager
def checking() -> Iterator[None]:
    """An InputError in here is a mistake in the setting that is validated, which is told with its name and with who said it."""
    try:
        yield
    except InputError as error:
        raise PydanticCustomError("input", "{said}", {"said": str(error)}) from error


class Section(BaseModel):
    """A frozen part of the settings that knows no other fields than its own, and no number without an end."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False,
        hide_input_in_errors=True,  # an address may hold a password
    )  # fmt: skip


class WindowSettings(Section):
    """How a clip is cut."""

    length: float = Field(default=LENGTH, ge=0.1, le=86_400)
    """Seconds of a window."""
    shift: float = Field(default=SHIFT, ge=0.1, le=86_400)
    """Seconds from one window's start to the next."""
    shortest: float = Field(default=SHORTEST, ge=0, le=86_400)
    """The last window is kept from this many seconds."""

    def cut(self, duration: float) -> Windows:
        """The windows [N, 2] (s) of what is `duration` seconds long."""
        return make_windows(duration, self.length, self.shift, self.shortest)


class DecodeSettings(Section):
    """What is taken from the media file."""

    frames_per_second: float = Field(default=5.0, gt=0, le=120)
    """Frames taken from each second of the video."""
    longest_side: int = Field(default=960, ge=64)
    """Frames are shrunk to this many pixels on their longer side."""
    audio_track: int = Field(default=0, ge=0, le=1000)
    """The sound track to take, from 1; 0 for the one that sounds."""


class LimitSettings(Section):
    """The most that is read of a media file; one that claims more is damaged, or was made to use up memory and disk."""

    hours: float = Field(default=12.0, gt=0, le=10_000)
    """Hours that a file lasts."""
    megapixels: float = Field(default=64.0, gt=0, le=2000)
    """Millions of pixels of an image; memory for some dozen images is needed."""
    frames_per_second: float = Field(default=1000.0, gt=0, le=1e6)
    """Images a second in the file."""
    sample_rate: int = Field(default=768_000, ge=8000, le=10_000_000)
    """Samples of sound a second in the file."""
    channels: int = Field(default=64, ge=1, le=1024)
    """Channels of sound."""
    gigabytes: float = Field(default=40.0, gt=0, le=100_000)
    """What decoding one file writes."""


class FaceSettings(Section):
    """How faces are found."""

    detector: Literal["auto", "mediapipe", "opencv"] = "auto"
    """`auto` is MediaPipe where it is installed, else OpenCV."""
    crop_size: int = Field(default=112, ge=48, le=512)
    """Side of the aligned square crops, pixels."""
    which: str = Field(default="main", pattern=r"^(main|all|person=[1-9]\d*)$")
    """Whose faces the answer is about: the main person's, everybody's (`all`), or a person's (`person=2`, as in people.csv)."""


class PeopleSettings(Section):
    """Who is in the clip."""

    speakers: int | None = Field(default=None, ge=1, le=50)
    """How many people speak; empty: found."""


class NetworkSettings(Section):
    """A modality that one of our own small networks recognises."""

    weights: Path | None = None
    """A .safetensors file; empty for the shipped one."""
    priors: Literal["training", "balanced", "estimated"] | dict[str, float] = "training"
    """How common each emotion is expected to be, for our own network with its shipped weights: as in its training, all alike, as
    estimated from the clip (in a data set: from all its clips), or a share for each of the seven. Voice and dynamic face learned
    all alike and know no other."""
    prior_strength: float = Field(default=0.25, ge=0, le=1)
    """How far other priors are followed: 0 not at all, 1 as Bayes' rule says for exact probabilities."""

    @field_validator("priors")
    @classmethod
    @checking()
    def _seven_shares(cls, given: str | dict[str, float]) -> str | dict[str, float]:
        """Shares name all seven emotions, each above 0."""
        shares = given if isinstance(given, dict) else dict.fromkeys(BASIC_EMOTIONS, 1.0)
        if set(shares) != set(BASIC_EMOTIONS) or not all(0 < value < inf for value in shares.values()):
            raise InputError(f"priors need a number above 0 for each of {', '.join(BASIC_EMOTIONS)}; give all seven.")
        return given


class ModelSettings(NetworkSettings):
    """A modality that one of our own small networks recognises, or a large model that was fetched."""

    model: str = ""
    """The large model: a name that `dyad models list` shows, owner/name as on Hugging Face, or a folder."""
    labels: Path | None = None
    """A YAML file that says which basic emotion each of the model's labels means, where our own table does not know them."""
    batch: int = Field(default=BATCH, ge=1, le=4096)
    """Items that the large model is given at once; on a GPU more are taken where they fit, and fewer where they do not."""


class FaceNetworkSettings(ModelSettings):
    """A modality of the face, which a network of the literature can recognise too."""

    network: str = ""
    """With `backend: network`: a name that `dyad models networks` shows."""
    checkpoint: Path | None = None
    """Its weights: .safetensors or .pt."""
    streams: bool = False
    """Draw landmarks and parsing masks for a network that was trained with them (fineclip)."""


class StaticFaceSettings(FaceNetworkSettings):
    """What sees an expression in a single face."""

    backend: Literal["embedded", "transformers", "network"] = "embedded"
    """`transformers`: an image classifier; `network`: a network of the literature."""
    priors: Literal["training", "balanced", "estimated"] | dict[str, float] = "balanced"
    """As for the other modalities; balanced, because stills of the web are a third neutral and hardly ever disgust."""
    reference: Literal["person", "clip", "none"] = "person"
    """By whose usual face our own network judges: `person`, in a data set that of the person whom its column `speaker` names,
    over all clips (elsewhere nobody's); `clip`, that of the person in the clip alone; or `none`."""


class DynamicFaceSettings(FaceNetworkSettings):
    """What sees an expression in a moving face."""

    backend: Literal["embedded", "clip", "network"] = "embedded"
    """`clip`: CLIP's features of each face, and a network over time on them; `network`: a network of the literature."""
    head: Path | None = None
    """The network over time (VideoMamba or a transformer, as Team RAS trained them): .safetensors or .pt; with `network: avcer`
    its LSTM."""
    by_frames: bool = False
    """With `network: avcer`: answer frame by frame as its release does, and take the mean over a window (docs/networks.md)."""
    captions: bool = False
    """With `network: fineclip`: tell it what the scene's descriptions say of each window (docs/networks.md)."""


class VoiceSettings(ModelSettings):
    """What hears an emotion in the voice."""

    backend: Literal["embedded", "transformers", "encoder"] = "embedded"
    """`transformers`: an audio classifier; `encoder`: WavLM, HuBERT or Whisper's encoder with a head of its own."""
    head: Path | None = None
    """The head on the encoder: one that `dyad train voice-head` wrote, or a checkpoint of Team RAS's form."""
    seconds: float | None = Field(default=None, gt=0, le=30)
    """Cut or fill what a classifier hears to this many seconds, for one that was trained so; empty: the span of speech."""
    batch: int = Field(default=LONG_BATCH, ge=1, le=1024)
    """Windows that the large model hears at once."""
    reference: Literal["speaker", "clip", "dataset", "none"] = "speaker"
    """By whose usual voice our own layer judges: the speaker's where turns or a data set tell it, else the clip's; the clip's;
    the data set's; or `none`, the training's alone. Each is shrunk to the next wider one (docs/models.md)."""


class TextSettings(ModelSettings):
    """What reads an emotion in the words."""

    backend: Literal["embedded", "transformers"] = "embedded"
    """`transformers`: a text classifier."""
    head: Path | None = None
    """A checkpoint of Team RAS's mean-pooled RoBERTa on the model named; empty: the model's own classifier."""
    english_only: bool = True
    """The large model reads English alone: other transcripts are not shown to it."""


class SceneLabelSettings(Section):
    """CLIP's view of the whole picture."""

    model: str = ""
    """A name that `dyad models list` shows, or a folder; empty: the best that is already on this machine."""
    checkpoint: Path | None = None
    """An open_clip checkpoint instead."""
    architecture: str = ""
    """open_clip's name of the architecture; empty: known from where the checkpoint lies."""
    frames_per_second: float = Field(default=1.0, gt=0)
    """Frames encoded from each second."""
    temperature: float | None = Field(default=None, gt=0)
    """Divides the similarities before the softmax; empty: the prompts' own, else the model's own (about 0.01)."""
    prompts: str = "scene_labels.yaml"
    """File in configs/prompts, or a YAML file."""
    batch: int = Field(default=BATCH, ge=1, le=4096)
    """Frames encoded at once."""


ADDRESS = "must look like http://localhost:8000/v1, without user name, key or query; a key is taken from the environment."


class ServerSettings(Section):
    """An OpenAI-compatible server (vLLM, SGLang, Ollama, llama.cpp) that runs a vision-language model."""

    base_url: str = ""
    """Its address up to the version, e.g. `http://localhost:8000/v1`."""
    model: str = ""
    """The model's name there."""
    key_variable: str = "DYAD_SERVER_KEY"
    """The environment variable that holds the key, where the server wants one; the key itself is never a setting."""
    prompt: str = "scene_description.yaml"
    """File in configs/prompts, or a YAML file: what the model is asked."""
    label_weight: float = Field(default=0.5, ge=0, le=1)
    """Weight of the label that a constrained prompt asks for, against the words of the description."""
    pictures: int = Field(default=8, ge=1, le=64)
    """Pictures shown of each window."""
    longest_side: int = Field(default=512, ge=64)
    """Pixels of the pictures' longer side."""
    max_tokens: int = Field(default=1000, ge=1)
    """Tokens of an answer at most, thoughts included; an answer that is cut off is none, as it may be thoughts alone."""
    concurrency: int = Field(default=4, ge=1, le=256)
    """Requests under way at once, over all clips of the process."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds for one answer."""
    retries: int = Field(default=5, ge=0)
    """Tries after the first, for rate limits, errors of the server and time-outs."""
    backoff: float = Field(default=1.0, gt=0)
    """Seconds before the first retry, doubled each time; a server's Retry-After goes before it."""
    longest_wait: float = Field(default=120.0, gt=0)
    """Seconds waited at most before a retry."""

    @field_validator("base_url")
    @classmethod
    @checking()
    def _an_address(cls, given: str) -> str:
        """An address that is none, or one with a password in it, is told before anything is run or written."""
        if given and not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s?#]*)?", given):
            raise InputError(f"The server's base_url {ADDRESS}")
        return given


class VisionSettings(Section):
    """A vision-language model that runs here (Qwen2.5-VL, Qwen3-VL)."""

    model: str = ""
    """A name that `dyad models list` shows, owner/name as on Hugging Face, or a folder."""
    prompt: str = "scene_description.yaml"
    """File in configs/prompts, or a YAML file: what the model is asked."""
    label_weight: float = Field(default=0.5, ge=0, le=1)
    """Weight of the label that a constrained prompt asks for, against the words of the description."""
    frames_per_second: float = Field(default=2.0, gt=0)
    """Frames shown of each second, as far as decoding took so many."""
    pixels: int = Field(default=200_704, ge=56 * 56)
    """Pixels of a frame after it is made smaller, at most (448 x 448)."""
    pixels_of_window: int = Field(default=3_211_264, ge=56 * 56)
    """Pixels of all frames of a window together, at most."""
    max_tokens: int = Field(default=200, ge=1)
    """Tokens of an answer at most."""
    batch: int = Field(default=4, ge=1, le=256)
    """Windows described at once."""


class SceneContextSettings(NetworkSettings):
    """What the scene means to the people in it, from descriptions."""

    backend: Literal["descriptions", "server", "transformers"] = "descriptions"
    """Who describes where no file is given with --descriptions: nobody, a server, or a model that runs here."""
    server: ServerSettings = ServerSettings()
    """The server."""
    vision: VisionSettings = VisionSettings()
    """The model that runs here."""
    reader: str = ""
    """A text classifier that reads the descriptions (a name, owner/name or a folder); empty: our own network."""
    labels: Path | None = None
    """Which basic emotion each label of the reader means, where our own table does not know them."""

    @model_validator(mode="after")
    @checking()
    def _names_a_server(self) -> Self:
        """A server that is asked has an address and a model, before anything is run or written."""
        if self.backend != "server":
            return self
        if not self.server.base_url:
            raise InputError(f"Which server shall be asked? Its scene_context.server.base_url {ADDRESS}")
        if not self.server.model:
            raise InputError(f"Which model shall {self.server.base_url} run? Set scene_context.server.model.")
        return self


class TranscriptSettings(Section):
    """Where the words come from when none are given."""

    words: Literal["base", "tiny.en", "off"] = "base"
    """The Whisper that hears them, else any on this machine; tiny.en knows English alone, `off`: words are given or absent."""
    model: str = ""
    """Another size of Whisper (`small`, `turbo`, ...) or a name that `dyad models list` shows, and no other then."""
    checkpoint: Path | None = None
    """A Whisper checkpoint (.pt, .safetensors) instead."""
    language: str | None = None
    """The language spoken, e.g. `en` or `english`; empty: recognised."""
    word_times: bool = True
    """Find when each word is said, so that windows get exactly their words."""
    batch: int = Field(default=LONG_BATCH, ge=1, le=256)
    """Pieces of 30 s decoded at once."""

    @field_validator("words", mode="before")
    @classmethod
    def _off_is_a_word(cls, given: object) -> object:
        """YAML takes the bare word off for false."""
        return "off" if given is False else given

    @field_validator("language", mode="before")
    @classmethod
    @checking()
    def _a_language(cls, given: object) -> object:
        """One that Whisper knows, before a clip is looked at for it in vain; YAML takes the bare code of Norwegian for false."""
        given = "no" if given is False else given
        return (code_of(given) if given.strip() else None) if isinstance(given, str) else given


class FusionSettings(Section):
    """From six modalities to the seven compounds."""

    weights: Path | None = None
    """A weights file of Multi-Head Probability Fusion, or what `dyad fuse fit` wrote; empty for the shipped one."""
    composition: Composition = "learned"
    """How basic emotions become compounds: `learned` starts from the pair sum (`ppa`) and knows what people vote for."""
    composer: Path | None = None
    """What `learned` and the probability of none of them go by; empty for the shipped one."""
    none_threshold: float = Field(default=0.5, ge=0, le=1)
    """A window names no compound when none of them is more probable than this; 1 always names one."""
    over_time: OverTime = "geometric"
    """How the windows over a moment are joined; `neighbours` lets each window hear all others first (docs/fusion.md)."""
    context_seconds: float = Field(default=8.0, ge=0, le=3600)
    """How far a window hears those around it: the standard deviation of a Gaussian, in seconds; 0: each window by itself."""


class CompoundSetting(Section):
    """One compound expression."""

    name: str
    """Its name in snake case, e.g. `fearfully_surprised`."""
    first: str
    """One basic emotion."""
    second: str
    """The other."""
