"""Which files a table of `dyad score` may name; each that may not be read is a row with a sentence."""

import wave
from collections.abc import Callable, Sequence
from pathlib import Path

import fsspec
import numpy as np
import pytest

from configs.settings import Settings
from data.errors import MediaError
from flows.backends import static_face
from flows.backends.score_inputs import Probabilities, by_length, files_in, paths_from, texts_answers, with_what_is_known
from modalities.speech.detect import as_wav, read_blocks

ENDINGS = frozenset({".wav"})


@pytest.mark.parametrize(
    ("named", "said"),
    [("https://host/a.wav", "trust the table that names it, allow it: --allow-remote https"),
     ("s3://b/a.wav", "--allow-remote s3"), ("memory://", "is an address without a path"),
     ("file::https://host/a.wav", "is a chain of addresses"), ("nosuch://a/b.wav", "fsspec does not know"),
     ("../a.wav", "write its absolute path if that is meant"), ("link/a.wav", "write its absolute path if that is meant"),
     ("", "inputs.csv, line 3: the cell in the column 'path' is empty")],
)  # fmt: skip
def test_neither_addresses_nor_paths_that_leave_the_folder(named: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "link").symlink_to(tmp_path)
    table = tmp_path / "set" / "inputs.csv"
    table.write_text(f"path,context,label\nfine.wav,{named},joy\n{named},,joy\n")
    with paths_from(remote=["memory"]):
        fine, refused = files_in(table, ENDINGS)
        assert (fine.problem, said in refused.problem) == ("", True)
        assert bool(with_what_is_known(table, [fine, refused])[0][0].problem) == bool(named), "so may its context"
    with pytest.raises(MediaError), refused.here():
        raise AssertionError("it was read")


def test_a_row_of_the_wrong_form_has_no_answer_and_its_sentence_and_blanks_no_others(tmp_path: Path) -> None:
    table = tmp_path / "inputs.csv"
    table.write_text("text,path\nhappy,a.wav\nsad, so sad,b.wav\nangry,c.wav\n")
    said = f"{table}, line 3: it has 3 cells, the first line 2; put text with ',' in double quotes."
    answers = texts_answers(table, lambda texts: np.array([[len(text)] * 7 for text in texts], np.float32), str.upper)
    assert (answers.names, answers.basic[:, 0].tolist()) == (["HAPPY", f"{table}, line 3", "ANGRY"], [5, 0, 5])
    assert (answers.reasons, answers.broken) == ({f"{table}, line 3": said}, {f"{table}, line 3"})
    assert [(file.name, file.problem) for file in files_in(table, ENDINGS)] == [
        (str(tmp_path / "a.wav"), ""), (f"{table}, line 3", said), (str(tmp_path / "c.wav"), ""),
    ]  # fmt: skip


def test_paths_start_from_the_table_or_from_a_root(tmp_path: Path) -> None:
    table = tmp_path / "inputs.csv"
    table.write_text("path\nfine.wav\n/data/b.wav\nfile:///data/c.wav\n")
    rest = ["/data/b.wav", "/data/c.wav"]
    assert list(map(str, files_in(table, ENDINGS))) == [str(tmp_path / "fine.wav"), *rest]
    with paths_from(tmp_path / "elsewhere"):
        assert list(map(str, files_in(table, ENDINGS))) == [str(tmp_path / "elsewhere" / "fine.wav"), *rest]


def test_what_an_allowed_address_names_lies_here_while_it_is_read(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as sound:
        sound.setparams((1, 2, 16_000, 0, "NONE", ""))
        sound.writeframes(bytes(3200))
    memory = fsspec.filesystem("memory")
    memory.pipe("/scores/a.wav", (tmp_path / "a.wav").read_bytes())
    memory.pipe("/scores/b.wav", b"no sound")
    table = tmp_path / "inputs.csv"
    table.write_text("path\nmemory://scores/a.wav\nmemory://scores/b.wav\nmemory://scores/c.wav\n")
    with paths_from(remote=["memory"]):
        read, damaged, missing = files_in(table, ENDINGS)
    with as_wav(read) as audio:
        assert sum(map(len, read_blocks(audio))) == 1600
    with read.here() as copy:
        assert copy.is_file()
    assert not copy.exists()
    for file, said in ((damaged, "^memory://scores/b.wav holds text"), (missing, "There is no file memory://scores/c.wav")):
        with pytest.raises(MediaError, match=said), as_wav(file):
            raise AssertionError("it was read")


def test_texts_are_read_once_those_of_a_length_together_and_answered_in_their_order() -> None:
    texts = ["a long line of words", "yes", "no", "yes", "a long line of sounds", "yes"]
    seen: list[list[str]] = []

    def score(part: Sequence[str]) -> Probabilities:
        seen.append(list(part))
        return np.array([[len(text)] * 6 + [text == "yes"] for text in part], np.float32)

    found = by_length(texts, score, "")
    assert seen == [["no", "yes", "a long line of words", "a long line of sounds"]]
    assert found[:, 0].tolist() == [len(text) for text in texts]
    assert found[:, 6].tolist() == [0, 1, 0, 1, 0, 1]


def test_why_pictures_have_no_answer_is_told_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever thread comes to one first."""
    names = [str(tmp_path / f"{number}.png") for number in range(4)]
    for name in names:
        Path(name).write_bytes(b"no picture")

    def the_last_first(
        rows: Sequence[int], score: Callable[[Sequence[int]], Probabilities], size: int, device: str
    ) -> Probabilities:
        return np.concatenate([score([row]) for row in reversed(rows)][::-1])

    monkeypatch.setattr(static_face, "in_chunks", the_last_first)
    assert list(static_face.OwnStaticFace().score(tmp_path, Settings()).reasons) == names
