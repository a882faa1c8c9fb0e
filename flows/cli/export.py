"""`dyad export` and `--export`: the answers about a clip or a data set in the formats of other tools; `dyad schema`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from reports.exports.formats import FORMATS, name_by_ending, own_name


def _several(incomplete: str) -> list[str]:
    """Completions of a list such as 'eaf,cs'."""
    before, comma, _ = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in FORMATS if name not in before.split(",")]


ExportsOption = Annotated[
    str | None,
    typer.Option("--export", autocompletion=_several, metavar="FORMATS", help="Also write formats of 'dyad export': eaf,csv."),
]


def export(
    folder: Annotated[
        str,
        typer.Argument(
            help="A run folder, or the folder or address of a data set or of run folders.", show_default=False, metavar="FOLDER"
        ),
    ],
    to: Annotated[
        str | None,
        typer.Option(
            autocompletion=lambda: list(FORMATS), help=f"One of: {', '.join(FORMATS)}; else by the ending of --output."
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", help="File, folder/ or .zip to write, here or at an address; else stdout."),
    ] = None,
    template: Annotated[Path | None, typer.Option(help="abaw, abaw-expr: the organisers' file, whose rows are kept.")] = None,
    fill: Annotated[str | None, typer.Option(help="abaw, abaw-expr: the class for videos without any answer.")] = None,
    person: Annotated[
        str, typer.Option(help="Only this person's answers: a number of people.csv, or a name.", show_default=False)
    ] = "",
) -> None:
    """Write answers in the format of another tool.

    Example: dyad export runs/clip-1a2b3c4d -o clip.eaf
    Example: dyad export runs --to csv-faces -o tables/faces.csv
    """
    from data.errors import InputError
    from flows.exports.source import source_at
    from flows.exports.write import export_text, export_to
    from reports.exports.abaw import TRACKS

    if to is None and output is None:
        raise InputError("Name a format with --to, or a file whose ending tells it with -o.")
    name = name_by_ending(str(output)) if to is None else own_name(to)
    if name not in TRACKS and (template or fill):
        raise InputError(f"--template and --fill belong to --to abaw and abaw-expr, not to {name}.")
    source, rows = source_at(folder, person), _template(template)
    if output is None:
        sys.stderr.write(export_text(source, name, rows, fill))
    else:
        sys.stderr.write(export_to(source, name, output, template=rows, fill=fill))
        print(output)


def schema() -> None:
    """Print what every file that Dyad writes holds: columns, types, units, meanings.

    Example: dyad schema > files.md
    """
    from reports.exports.files_page import files_page

    sys.stdout.write(files_page())


def exports_named(names: str | None) -> list[str]:
    """The formats of `--export`, checked before anything runs; none without the option."""
    if names is None:
        return []
    from reports.exports.formats import formats_named

    return list(formats_named(names))


def write_exports(output: str | Path, names: list[str], run: bool) -> bool:
    """Write the exports of a run or a data set and say on stderr where they are; False, and a sentence, when one cannot be."""
    from data.errors import DyadError
    from data.run_folder import RunFolder
    from flows.clip.report import write_report
    from flows.exports.write import export_beside, export_data_set

    done, told = True, set[str]()
    for name in names:
        try:
            said, files = ("", export_beside(Path(output), [name])) if run else export_data_set(str(output), [name])
        except DyadError as error:
            sys.stderr.write(f"dyad: {name} was not written. {error}\n")
            done = False
        else:
            sys.stderr.write(("" if said in told else said) + f"{name}: {files[0]}\n")
            told.add(said)
    if run and names:
        write_report(RunFolder(Path(output)))  # which links them
    return done


def _template(path: Path | None) -> str | None:
    from data.errors import InputError

    try:
        return None if path is None else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise InputError(f"The template {path} cannot be read as text; give the organisers' file.") from None
