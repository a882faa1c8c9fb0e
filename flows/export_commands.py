"""`dyad export`: the answers about a clip or a data set in the formats of other tools."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reports.export_clip import ClipAnswer
    from reports.exports import Format


def _names() -> list[str]:
    from reports.exports import FORMATS

    return list(FORMATS)


def export(
    folder: Annotated[Path, typer.Argument(help="A run folder, or the folder of a data set.", show_default=False)],
    to: Annotated[str, typer.Option(autocompletion=_names, help="abaw, csv, csv-long, jsonl, rttm, vtt, srt, eaf or textgrid.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The file to write (else stdout); a folder for a file a clip.")
    ] = None,
    template: Annotated[Path | None, typer.Option(help="abaw: the organisers' file, whose rows are kept.")] = None,
    fill: Annotated[str | None, typer.Option(help="abaw: the compound for videos without any answer.")] = None,
) -> None:
    """Write answers in the format of another tool.

    Example: dyad export runs/clip-1a2b3c4d --to eaf -o clip.eaf
    """
    from data.errors import InputError
    from reports.exports import format_named

    form = format_named(to)
    if to.lower() != "abaw" and (template or fill):
        raise InputError(f"--template and --fill belong to --to abaw, not to {to}.")
    if to.lower() == "abaw":
        _write([_submission(folder, template, fill)], output)
    elif form.write_clips is not None:
        _write(form.write_clips(_clips(folder, form)), output)
    else:
        _write_each(folder, form, output)


def _clips(folder: Path, form: "Format") -> Iterator["ClipAnswer"]:
    from reports.export_clip import read_clip, run_folders

    return (read_clip(run, frames=form.frames, cues=form.cues) for run in run_folders(folder))


def _submission(folder: Path, template: Path | None, fill: str | None) -> str:
    from data.errors import InputError
    from reports.export_abaw import abaw
    from reports.exports import FORMATS

    try:
        rows = None if template is None else template.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise InputError(f"The template {template} cannot be read as text; give the organisers' file.") from None
    made = abaw(_clips(folder, FORMATS["abaw"]), rows, fill)
    sys.stderr.write(
        f"{made.own} frames with their own class, {made.carried} with that of the nearest frame, {made.filled} filled\n"
    )
    return made.text


def _write_each(folder: Path, form: "Format", output: Path | None) -> None:
    """A file a clip: to stdout or one file for a run folder, into a folder for a data set."""
    from data.errors import InputError

    assert form.write_clip is not None
    alone = (folder / "result.json").is_file()
    if not alone and output is None:
        raise InputError("This format is a file a clip; name a folder for them with -o.")
    if not alone and output is not None:
        if output.is_file():
            raise InputError(f"{output} is a file, and {folder} holds many clips; name a folder with -o.")
        output.mkdir(parents=True, exist_ok=True)
    for clip in _clips(folder, form):
        _write([form.write_clip(clip)], output if alone or output is None else output / f"{clip.clip_id}{form.suffix}")


def _write(pieces: Iterable[str], output: Path | None) -> None:
    from data.errors import InputError
    from data.files import atomic_path

    if output is None:
        sys.stdout.writelines(pieces)
        return
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise InputError(f"{output} cannot be written: it is a folder, or its folder is not there; name a file with -o.")
    with atomic_path(output) as aside, aside.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(pieces)
