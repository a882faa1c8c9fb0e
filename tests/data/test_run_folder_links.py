"""A folder of results in which somebody has planted links."""

from pathlib import Path

import pytest

from data.errors import InputError
from data.run_folder import RunFolder


@pytest.mark.parametrize("planted", ["clip", "clip/work", "clip/.stages", "clip/log.txt", "clip/.stages/asked"])
def test_a_planted_link_is_refused(tmp_path: Path, planted: str) -> None:
    victim, link = tmp_path / "victim", tmp_path / "runs" / planted
    victim.mkdir()
    link.parent.mkdir(parents=True)
    link.symlink_to(victim)
    with pytest.raises(InputError, match="is a link, and Dyad writes nothing behind it; remove it"):
        RunFolder(tmp_path / "runs" / "clip").create()
    assert not list(victim.iterdir())
