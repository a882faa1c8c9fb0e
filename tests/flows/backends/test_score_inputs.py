"""Which files a table of `dyad score` may name."""

from pathlib import Path

import pytest

from data.errors import InputError
from flows.backends.score_inputs import files_in, paths_from

ENDINGS = frozenset({".wav"})


@pytest.mark.parametrize(
    ("named", "said"),
    [("https://host/a.wav", "reads files of this machine, so fetch it first"), ("s3://b/a.wav", "so fetch it first"),
     ("file::https://host/a.wav", "so fetch it first"), ("../a.wav", "write its absolute path if that is meant"),
     ("link/a.wav", "write its absolute path if that is meant"), ("", "the cell in the column 'path' is empty")],
)  # fmt: skip
def test_neither_addresses_nor_paths_that_leave_the_folder(named: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "link").symlink_to(tmp_path)
    table = tmp_path / "set" / "inputs.csv"
    table.write_text(f"path,label\nfine.wav,joy\n{named},joy\n")
    with pytest.raises(InputError, match=said):
        files_in(table, ENDINGS)


def test_paths_start_from_the_table_or_from_a_root(tmp_path: Path) -> None:
    table = tmp_path / "inputs.csv"
    table.write_text("path\nfine.wav\n/data/b.wav\n")
    assert files_in(table, ENDINGS) == [tmp_path / "fine.wav", Path("/data/b.wav")]
    with paths_from(tmp_path / "elsewhere"):
        assert files_in(table, ENDINGS) == [tmp_path / "elsewhere" / "fine.wav", Path("/data/b.wav")]
