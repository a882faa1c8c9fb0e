"""`dyad render`: the video of a clip with its answer drawn in, made from its run folder."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data import terminal
from data.errors import InputError
from data.run_folder import RunFolder

if TYPE_CHECKING:
    from data.media.clip import Clip
    from reports.render.annotations import Annotations
    from reports.render.video import Rendered


def render(
    run: Annotated[Path, typer.Argument(help="A clip's run folder, or the result.json in it.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="The video to write: .mp4, .mov or .mkv.")],
    tracks: Annotated[str, typer.Option(help="Whose boxes: all, or main.")] = "all",
    person: Annotated[
        str, typer.Option(help="Whose answer stands below: a number of people.csv, or a name.", show_default=False)
    ] = "",
    video: Annotated[Path | None, typer.Option(help="The media file, where it has moved since the run.")] = None,
) -> None:
    """Write the video of a clip with its answer drawn in: who is where and shows what, how sure that is, and subtitles.

    Example: dyad render runs/clip-0469aba1 -o annotated.mp4
    """
    folder = RunFolder(run.parent if run.name == "result.json" else run)
    done = render_run(folder, output, tracks=tracks, person=person, video=video, shown=True)
    sys.stderr.write(f"{done.frames} pictures ({done.seconds:.1f} s), sound {done.audio}, written to {output}\n")


def render_run(
    folder: RunFolder, output: Path, *, tracks: str = "all", person: str = "", video: Path | None = None, shown: bool = False
) -> "Rendered":
    """Render a run's video; `shown` shows progress on a terminal. InputError in sentences for what does not fit together."""
    from reports.render.fonts import undrawable
    from reports.render.video import render as render_clip

    clip, drawn = _clip(folder, video), _annotations(folder, tracks, person)
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise InputError(f"{output} cannot be written: it is a folder, or its folder is not there; name a file with -o.")
    if output.exists() and output.samefile(clip.path):
        raise InputError(f"{output} is the clip itself; choose another name with -o.")
    if lacking := undrawable(drawn.cues["text"].tolist()):
        sys.stderr.write(f"No font on this machine has these letters of the subtitles: {lacking[:40]} (install one, e.g. Noto)\n")
    with _progress(clip, shown) as report:
        return render_clip(clip, drawn, output, report=report)


def _clip(folder: RunFolder, video: Path | None) -> "Clip":
    """The clip of a run, with the media file found and known to be the same."""
    from data.files import file_digest
    from data.media.clip import Clip
    from flows.clip.report import read_result

    facts = read_result(folder)["clip"]
    known: dict[str, Any] = {name: value for name, value in facts.items() if name in Clip.__dataclass_fields__}
    path = video or Path(facts["path"])
    if not path.is_file():
        wanted = "check the name" if video else "put it back, or name where it is with --video"
        raise InputError(f"The media file {video or facts['path']} is not there; {wanted}.")
    if facts.get("start") is None and file_digest(path) != facts["content_hash"]:
        raise InputError(f"{path} is not the file that this run is about (its content differs); run 'dyad run' on it again.")
    return Clip(**{**known, "path": path})


def _annotations(folder: RunFolder, tracks: str, person: str) -> "Annotations":
    import pandas as pd

    from data.emotions import Compound
    from data.media.subtitles import read_transcript
    from data.people import rows_of
    from data.tables import read_table
    from flows.clip.report import folder_faces, read_result
    from reports.answer import about, name_of, numbered
    from reports.render.annotations import Annotations, chosen_faces

    if not folder.frames.is_file():
        raise InputError(f"{folder.root} has no frames.parquet; run 'dyad run' on the clip again.")
    seen = folder_faces(folder)
    found = pd.DataFrame({"track_id": [], "main": [], "time_s": []}) if seen is None else seen
    words = read_transcript(folder.transcript) if folder.transcript.is_file() else pd.DataFrame(columns=["start", "end", "text"])
    result, frames = read_result(folder), read_table(folder.frames)
    compounds = [Compound(**entry) for entry in result["compounds"]]
    answers = {number: rows_of(frames, number) for number in frames["person"].unique().tolist()} if "person" in frames else {}
    one = numbered(result, person) if person else about(result)
    below, whose = rows_of(frames, one["person"] if one and person else None), name_of(one) if one and len(answers) > 1 else ""
    return Annotations(below, compounds, chosen_faces(found, tracks), words, answers, whose)


@contextmanager
def _progress(clip: "Clip", shown: bool) -> Iterator[Callable[[float], None] | None]:
    """A bar on a terminal; nothing elsewhere, where one line says the end."""
    from rich.progress import Progress

    console = terminal.console(stderr=True)
    if not shown or not console.is_terminal:
        yield None
        return
    with Progress(console=console, transient=True) as bars:
        task = bars.add_task(clip.path.name, total=clip.duration)
        yield lambda seconds: bars.update(task, completed=seconds)
