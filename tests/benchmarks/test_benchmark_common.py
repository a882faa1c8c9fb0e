"""What the benchmarks share: options, seconds, processes of their own; and that each of them shows its help."""

import argparse
import os
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks.__main__ import NAMES, main
from benchmarks.common import figures_of_process, make_parser, names_among, peak_megabytes, timed
from benchmarks.long_clip import make_long_clip
from data.media.probe import probe


def test_names_with_commas_between_are_among_those_known() -> None:
    names = names_among(["s4d", "cliper"], "network")
    assert names("cliper,s4d") == ["cliper", "s4d"]
    assert names("") == []
    with pytest.raises(argparse.ArgumentTypeError, match="'resnet' is no network; use one of: s4d, cliper"):
        names("s4d,resnet")


def test_a_benchmark_that_reads_data_asks_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    parser = make_parser("What it does.\n\n    dyad benchmark name --data FOLDER", "face/")
    assert parser.parse_args(["--data", "somewhere"]).data == Path("somewhere")
    with pytest.raises(SystemExit):
        parser.parse_args([])
    assert "--data" in capsys.readouterr().err
    assert "    dyad benchmark name --data FOLDER\n" in parser.format_help(), "the docstring as it is written"


def test_seconds_are_the_median() -> None:
    calls: list[int] = []
    assert 0 <= timed(lambda: calls.append(1), 3) < 1
    assert len(calls) == 3


def test_figures_come_from_a_process_of_its_own(tmp_path: Path) -> None:
    program = "import json, os, sys\nprint('working')\nprint(json.dumps({'process': os.getpid(), 'given': int(sys.argv[1])}))\n"
    (tmp_path / "measured.py").write_text(program)
    figures = figures_of_process("measured", [3], {"PYTHONPATH": str(tmp_path)})
    assert figures["given"] == 3
    assert figures["process"] != os.getpid()
    assert peak_megabytes() > 10


def test_films_are_of_the_kind_that_is_asked_for(tmp_path: Path) -> None:
    film = probe(make_long_clip(tmp_path / "film.mp4", 0.4, (360, 640), 50, faces=10))
    assert (film.width, film.height, film.frame_rate, film.has_audio) == (360, 640, 50, True)
    with av.open(tmp_path / "film.mp4") as opened:
        shown = next(opened.decode(video=0)).to_ndarray(format="gray")
    parts = [part for half in np.split(shown, 2) for part in np.split(half, 5, axis=1)]
    assert all(part.std() > 20 for part in parts), "a face in each part"
    assert np.abs(parts[0].astype(int) - parts[9]).mean() < 10


@pytest.mark.filterwarnings("ignore:.* found in sys.modules:RuntimeWarning")  # other tests imported it
@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_shows_its_help(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks"])
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: dyad benchmark {name} ")
