"""What a run shows while it works: bars on a terminal, plain lines elsewhere, and where the figures come from."""

import contextvars
import io
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from data.media.decode import DecodeOptions, decode
from data.media.probe import probe
from flows.cli import terminal as running
from flows.clip.graph import NEEDS
from flows.runtime import events
from flows.runtime.events import Event, listening
from tests.media_makers import make_clip


class Screen(io.StringIO):
    """A terminal, as long as it is `there`."""

    there = True

    def isatty(self) -> bool:
        return self.there


def shown(terminal: bool, verbose: bool = False) -> tuple[running._Progress, io.StringIO]:
    screen = io.StringIO()
    return running._Progress(Console(file=screen, force_terminal=terminal, width=100), verbose), screen


def moments(stage: str, *seconds: float) -> Iterator[Event]:
    started = Event("clip-1", "clip.mp4", stage, "started", duration=60.0)
    yield started
    for at in seconds:
        yield Event("clip-1", "clip.mp4", stage, "working", reached=at, duration=60.0)


def test_a_bar_counts_stages_and_the_part_of_those_under_way() -> None:
    progress, screen = shown(terminal=True)
    with progress.bars:
        progress(Event("clip-1", "clip.mp4", "decode", "done", 1.0, duration=60.0))
        for event in (*moments("faces", 15.0, 30.0), *moments("voice")):
            progress(event)
        (task,) = progress.bars.tasks
        assert task.completed == pytest.approx(1.5)
        assert task.description == "faces 50 %, voice"
        progress.bars.refresh()
    assert "clip.mp4" in screen.getvalue()
    assert "faces 50 %, voice" in screen.getvalue()


def test_the_bar_of_a_clip_ends_full_and_goes_when_the_next_begins() -> None:
    progress, _ = shown(terminal=True)
    progress(Event("b", "b.mp4", "decode", "failed"))
    assert not progress.bars.tasks[0].visible, "nothing comes after a failed decoding"
    progress(Event("a", "a.mp4", "voice", "failed"))
    assert progress.bars.tasks[1].visible
    screen = Screen()
    progress = running._Progress(Console(file=screen, width=100))
    screen.there = False  # as while a library's own log is kept off it
    for name in NEEDS:
        progress(Event("a", "a.mp4", name, "done", duration=1.0))
    assert progress.bars.tasks[0].percentage == 100
    progress(Event("b", "b.mp4", "decode", "started"))
    assert [task.visible for task in progress.bars.tasks] == [False, True]


def test_elsewhere_there_are_lines_and_no_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    progress, screen = shown(terminal=False)
    for event in moments("faces", 20.0):
        progress(event)
    monkeypatch.setattr(running, "EVERY", 0.0)
    time.sleep(0.001)
    progress(list(moments("faces", 30.0))[-1])
    progress(Event("clip-1", "clip.mp4", "faces", "done", 12.34))
    progress(Event("clip-1", "clip.mp4", "voice", "failed", 0.1, "It broke."))
    said = ("clip.mp4: recognising", "clip.mp4: faces at 30 of 60 s", "clip.mp4: voice failed (0.1 s) It broke.")
    assert screen.getvalue().splitlines() == list(said), "at once that it begins, and that once"
    told, screen = shown(terminal=False, verbose=True)
    told(Event("clip-1", "clip.mp4", "faces", "done", 12.34))
    told(Event("clip-1", "clip.mp4", "voice", "skipped"))
    assert screen.getvalue() == "clip.mp4: faces done (12.3 s)\n"


def test_each_second_is_told_once_and_only_of_the_stage_of_this_thread() -> None:
    told: list[Event] = []

    def work() -> None:
        events.start(Event("clip-1", "clip.mp4", "faces", "started", duration=3.0))
        for at in (0.2, 0.9, 1.0, 1.8, 1.2, 2.1, 3.0):
            events.reach(at)

    with listening(told.append):
        contextvars.copy_context().run(work)
        events.reach(1.0)
    assert [(event.state, event.reached) for event in told] == [("started", 0.0), ("working", 1.0), ("working", 2.0)]


def test_decoding_tells_how_far_it_is(tmp_path: Path) -> None:
    told: list[float] = []
    decode(probe(make_clip(tmp_path / "clip.mp4", seconds=3)), tmp_path / "work", DecodeOptions(5.0, 960), on_time=told.append)
    assert told == sorted(told)
    assert len(told) > 10
    assert 2.5 < told[-1] <= 3.1
