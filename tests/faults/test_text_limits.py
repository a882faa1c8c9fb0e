"""Settings, tables and headers that are deep, wide, long or full of digits: a sentence, in linear time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from configs.settings import Settings, load_settings
from data.errors import InputError, MediaError, WeightsError
from data.manifest.manifest import read_manifest
from data.media.subtitles import read_transcript
from data.npz_files import read_arrays
from data.yaml_files import read_yaml
from flows.backends.score_inputs import read_image, stored_images
from fusion.composer import read_composer
from fusion.tables.fitted import read_fitted
from fusion.weights import read_weights
from modalities.loading.checkpoint import load_checkpoint
from modalities.loading.state_dicts import read_notes
from tests.faults.bombs import png

SECONDS = 5.0
"""Of processor time that refusing one of them may take."""


@contextmanager
def quickly() -> Iterator[None]:
    """The block takes little processor time."""
    began = time.process_time()
    yield
    assert time.process_time() - began < SECONDS


DEEP = "[" * 3000 + "]" * 3000
ALIASES = "a: &a [1, 1]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"a: {DEEP}", "more than 20 levels"),
        ("".join(f"{' ' * level}a:\n" for level in range(500)), "more than 20 levels"),
        (ALIASES, "'*' refers to an earlier value"),
        ("device: 2026-13-45\n", "month must be in 1..12"),
        (f"windows: {{length: {'9' * 5000}}}", "not valid YAML"),
        ("a: b\n" * 100_000, "more than 256 KB"),
        ("? [a]\n: b\n", "unhashable"),
    ],
    ids=["deep flow", "deep block", "aliases", "date", "digits", "large", "key"],
)  # fmt: skip
def test_yaml(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(text, encoding="utf-8")
    with quickly(), pytest.raises(InputError) as error:
        read_yaml(file, "settings")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("value", ["{", "[" * 2000, "9" * 400, ".inf", ".nan", "1e-7", "-1", "0", "1e400"])
@pytest.mark.parametrize("name", ["DYAD_WINDOWS__LENGTH", "DYAD_WINDOWS__SHIFT"])
def test_windows_that_would_never_end(name: str, value: str) -> None:
    with quickly(), pytest.raises(InputError, match=name):
        load_settings(environment={name: value})


NUMBERS = st.one_of(st.integers(), st.floats(), st.integers(10**300, 10**310))
NAMES = st.text() | st.sampled_from(["backend", "length", "batch", "weights", "fear"])
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(), st.dates()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60)
@given(st.sampled_from(sorted(Settings.model_fields)), VALUES)
def test_settings_of_any_value_are_settings_or_a_sentence(section: str, value: object) -> None:
    with suppress(InputError):
        assert load_settings(overrides={section: value}).compound_table()


@settings(max_examples=40)
@given(st.text(alphabet=st.sampled_from("a:-[]{}&*!|>?%@'\" \n\t#0.e9\u2028"), max_size=40))
def test_any_text_is_yaml_or_a_sentence(text: str) -> None:
    with suppress(InputError):
        load_settings(environment={"DYAD_FACES__DETECTOR": text})


@pytest.mark.parametrize("read", [read_fitted, read_composer, read_weights])
@pytest.mark.parametrize("text", ["[" * 200_000, '{"a": ' * 100_000, "9" * 5000], ids=["lists", "objects", "digits"])
def test_json(tmp_path: Path, read: object, text: str) -> None:
    file = tmp_path / "fitted.json"
    file.write_text(text, encoding="utf-8")
    with quickly(), pytest.raises(InputError, match=r"fitted\.json cannot be read as JSON"):
        read(file)  # type: ignore[operator]


def test_headers_of_weights(tmp_path: Path) -> None:
    file = tmp_path / "deep.safetensors"
    save_file({"weight": np.zeros(1, np.float32)}, file, metadata={"settings": "[" * 100_000})
    with quickly(), pytest.raises(WeightsError, match="nested too deeply"):
        load_checkpoint(file)
    with quickly():
        assert isinstance(read_notes(file)["settings"], str)


SPAN = "00:00:01.000 --> 00:00:02.000"
SUBTITLES = {
    "voices": f"WEBVTT\n\n{SPAN}\n{'<v ' * 40_000}\n", "tags": f"WEBVTT\n\n{SPAN}\n{'<c.x' * 40_000}\n",
    "overrides": "1\n00:00:01,000 --> 00:00:02,000\n" + "{\\" * 50_000, "spaces": f"WEBVTT\n\n{' ' * 100_000}x --> {SPAN}\nx\n",
    "hours": f"WEBVTT\n\n{'9' * 400}:00:01.000 --> {'9' * 400}:00:02.000\nx\n", "indices": f"{'9' * 5000}\n{SPAN}\nx\n\n" * 2,
    "arrows": f"WEBVTT\n\n{'-->' * 50_000}\nx\n", "lines": "\n" * 50_000 + "x",
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".vtt", ".srt", ".txt"])
@pytest.mark.parametrize("attack", SUBTITLES)
def test_subtitles(tmp_path: Path, attack: str, suffix: str) -> None:
    file = (tmp_path / "words").with_suffix(suffix)
    file.write_text(SUBTITLES[attack], encoding="utf-8")
    with quickly(), suppress(InputError):
        read_transcript(file)


@pytest.mark.parametrize(
    ("header", "said"), [(",".join(f"c{k}" for k in range(100_000)), "100,000 columns"), ("x" * 2_000_000, "1,000,000 letters")]
)
def test_wide_tables(tmp_path: Path, header: str, said: str) -> None:
    table = tmp_path / "clips.csv"
    table.write_text(f"{header}\nclip.mp4\n", encoding="utf-8")
    with quickly(), pytest.raises(InputError, match=said):
        read_manifest(table)


def test_archives_of_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "faces.npz", images=np.zeros((300, 48, 48), np.uint8), more=np.array([None]))
    assert stored_images(tmp_path / "faces.npz").shape == (300, 48, 48)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_arrays(tmp_path / "faces.npz")
    monkeypatch.setattr("data.npz_files.MOST", 300 * 48 * 48)
    with pytest.raises(InputError, match=r"faces\.npz is not an \.npz with the array 'images' \(it unpacks to"):
        stored_images(tmp_path / "faces.npz")
    (tmp_path / "torn.npz").write_bytes((tmp_path / "faces.npz").read_bytes()[:200])
    with pytest.raises(InputError, match=r"torn\.npz is not an \.npz"):
        stored_images(tmp_path / "torn.npz")


def test_pictures_that_are_scored(tmp_path: Path) -> None:
    with quickly(), pytest.raises(MediaError, match=r"megapixels, more than the 64 megapixels"):
        read_image(png(tmp_path / "bomb.png", 20_000, 20_000))
