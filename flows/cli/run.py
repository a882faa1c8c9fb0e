"""The commands that recognise: `dyad run`, `dyad demo` and `dyad score`."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from configs import DEFAULT_PROFILE
from data import terminal
from flows.cli.export import exports_named, write_exports
from flows.cli.options import (
    Asked,
    DeviceOption,
    DynamicOption,
    ExplainOption,
    FreshOption,
    JsonOption,
    NameOption,
    OutputOption,
    PrefectOption,
    ProfileOption,
    RemoteOption,
    RootOption,
    SettingsOption,
    StaticOption,
    face_overrides,
    file_systems,
    local_path,
    takes_asked,
)

if TYPE_CHECKING:
    from flows.job import Brought

EVERY = 10.0
"""Seconds from one line of progress to the next where there is no terminal."""
PeopleOption = Annotated[
    Path | None, typer.Option(help="Who is who: CSV with person (a number of people.csv) or picture (a file), and name.")
]


@takes_asked
def run(
    files: Annotated[
        list[Path],
        typer.Argument(help="Media files, or folders of them.", show_default=False, parser=local_path, metavar="FILES..."),
    ],
    *,
    output: OutputOption = Path("runs"),
    asked: Asked,
    name: NameOption = "",
    transcript: Annotated[
        Path | None, typer.Option(help="The words: .srt, .vtt, .ass, .sbv, .lrc, .txt, .csv.", parser=local_path, metavar="FILE")
    ] = None,
    scores: Annotated[list[str] | None, typer.Option(help="Ready probabilities: MODALITY=FILE; repeatable.")] = None,
    people: PeopleOption = None,
    prefect: PrefectOption = False,
) -> None:
    """Recognise the compound expressions of videos; what is done already is left out.

    Example: dyad run clip.mp4 -o runs --transcript clip.srt
    """
    from flows.cli.terminal import Told, run_clips

    how = Told(asked.json, asked.explain, asked.verbose)
    settings, names = asked.settings(), exports_named(asked.exports)
    brought = _brought(transcript, asked.descriptions, scores or [], people)
    then = partial(write_exports, names=names, run=True)
    shown = _time_shown_before(then) if asked.profile_time else then
    sys.exit(run_clips(files, output, settings, brought, how, strict=asked.strict, fresh=asked.fresh, prefect=prefect, name=name,
                       workers=asked.workers, then=shown))  # fmt: skip


def _brought(
    transcript: Path | None, descriptions: Path | None, scores: list[str], people: Path | None
) -> "Brought | None":
    """The evidence that is given, known to be of the right form; None without any, which asks for no libraries."""
    if not (transcript or descriptions or scores or people):
        return None
    from flows.job import Brought

    return Brought(transcript, descriptions, _scores_option(scores), people).check_content()


def _time_shown_before(then: Callable[[Path], bool]) -> Callable[[Path], bool]:
    from flows.clip.profile_time import shown_before

    return shown_before(then)


def demo(
    output: OutputOption = Path("runs"), explain: ExplainOption = False, json: JsonOption = False, fresh: FreshOption = False
) -> None:
    """Recognise the sample clip that comes with Dyad.

    Example: dyad demo
    """
    from configs.settings import load_settings
    from data.sample import sample_clip
    from flows.cli.terminal import Told, run_clips
    from flows.job import Brought

    clip = sample_clip()
    brought = Brought(descriptions=clip.with_name("sample_descriptions.csv"))
    sys.exit(run_clips([clip], output, load_settings(), brought, Told(json, explain), fresh=fresh))


def score(
    modality: Annotated[str, typer.Argument(help="text, words, scene-context, voice, static-face or dynamic-face.")],
    table: Annotated[
        Path, typer.Argument(help="Table, folder of files, or .npz with `images`.", parser=local_path, metavar="TABLE")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The CSV to write.", parser=local_path, metavar="FILE")],
    profile: ProfileOption = DEFAULT_PROFILE,
    static_face: StaticOption = None,
    dynamic_face: DynamicOption = None,
    device: DeviceOption = None,
    root: RootOption = None,
    allow_remote: RemoteOption = None,
    single: SettingsOption = None,
) -> None:
    """Run one modality on many inputs at once; one row an input, in order. With a column `label` it says how many are right.

    What cannot be read, or may not be, is a row without an answer, and the exit code is 1.

    `words` writes down what is said in files; with a column `transcript` it says how many words are wrong.

    Example: dyad score text comments.csv -o emotions.csv
    """
    from configs.settings import load_settings
    from flows.backends.score_inputs import paths_from
    from flows.backends.score_table import absent, measured, score_table, trained_on

    overrides = ({"device": device} if device else {}) | face_overrides(static_face, dynamic_face)
    asked = load_settings(profile, overrides, single=single or ())
    with _scores_shown(), paths_from(local_path(root) if root else None, file_systems(allow_remote)):
        answers = score_table(modality.replace("-", "_"), table, output, asked)
    count = len(answers.names)
    for name, reason in answers.reasons.items():
        sys.stderr.write(f"{reason}\n" if name in reason else f"{name}: {reason}\n")
    sys.stderr.write(f"{count} input{'s' * (count != 1)} scored, {absent(answers)} without an answer; written to {output}\n")
    if sentence := measured(table, answers, trained_on(modality.replace("-", "_"), asked)):
        sys.stderr.write(f"{sentence}\n")
    if answers.broken or absent(answers) == len(answers.names):
        sys.exit(1)


@contextlib.contextmanager
def _scores_shown() -> Iterator[None]:
    """Show how many inputs are scored: a bar on a terminal, a line every ten seconds elsewhere."""
    import time

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from flows.backends.score_inputs import Scored, watching

    console, told = terminal.console(stderr=True), time.monotonic()
    on_terminal = console.is_terminal
    with Progress("scoring", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True,
                  disable=not on_terminal) as bar:  # fmt: skip
        task = bar.add_task("scoring", total=None)

        def show(scored: Scored) -> None:
            nonlocal told
            bar.update(task, completed=scored.done, total=scored.total)
            if not on_terminal and time.monotonic() - told > EVERY:
                told = time.monotonic()
                sys.stderr.write(f"{scored.done} of {scored.total}\n")

        with watching(show):
            yield


def _scores_option(given: list[str]) -> dict[str, Path]:
    from data.errors import InputError

    pairs: dict[str, Path] = {}
    for item in given:
        modality, equals, path = item.partition("=")
        if not equals or not path:
            raise InputError(f"--scores {item}: write MODALITY=FILE, e.g. --scores voice=voice.csv.")
        pairs[modality.replace("-", "_")] = local_path(path)
    return pairs
