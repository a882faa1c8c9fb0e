"""What run folders are looked at with: `dyad report` (the page), `dyad figure` (for a paper), `dyad compare` (what differs),
`dyad evaluate` (what is right)."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import local_path


def report(
    place: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER", help="A run folder, the output of 'dyad batch', or a folder of run folders.", show_default=False
        ),
    ],
    open_it: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
) -> None:
    """Write report.html of a clip, or of many: one file that needs no network.

    Example: dyad report runs/clip-0469aba1 --open
    """
    page, shown = _written(place)
    print(shown)
    if open_it:
        typer.launch(page.resolve().as_uri())


def _written(place: str) -> tuple[Path, str]:
    """Write the page; the file, and where people find it."""
    from data.location import is_address
    from data.run_folder import RunFolder
    from flows.batch.summary import remake_page
    from flows.clip.report import write_report

    if is_address(place):
        return remake_page(place), f"{place.rstrip('/')}/report.html"
    run = Path(place)
    folder = RunFolder(run.parent if run.name == "result.json" else run)
    page = write_report(folder) if folder.result.is_file() else remake_page(place)
    return page, str(page)


def figure(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Run folders, or folders of them: one clip above the other.", show_default=False, parser=local_path,
            metavar="RUNS...",
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The .svg, .pdf or .png to write.", parser=local_path, metavar="FILE")
    ],
    width: Annotated[float, typer.Option(min=60, max=600, help="Millimetres: 180 for two columns, 85 for one.")] = 180.0,
) -> None:
    """Draw compounds, basic emotions and contributions over time for a paper.

    Example: dyad figure runs/clip-0469aba1 -o figure.pdf --width 85
    """
    from flows.clip.report import read_result, run_folders
    from reports.figure import write_figure

    folders = run_folders(runs)
    results = [read_result(folder) for folder in folders]
    names = [Path(result["clip"]["path"]).stem for result in results]
    if len(set(names)) < len(names):  # segments of one file, or one clip with two settings
        names = [str(folder.root) for folder in folders]
    for note in write_figure(output, dict(zip(names, results, strict=True)), width):
        sys.stderr.write(f"{note}\n")
    print(output)


def compare(
    first: Annotated[
        str, typer.Argument(help="A run folder, a data set, or a folder of run folders.", metavar="A", show_default=False)
    ],
    second: Annotated[str, typer.Argument(help="Another of the same kind.", metavar="B", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Also write a page, .html.", parser=local_path, metavar="FILE")
    ] = None,
) -> None:
    """Show two clips, two settings of a clip, or two data sets side by side, with the differences marked.

    Example: dyad compare runs/clip-0469aba1 other/clip-0469aba1 -o compared.html
    """
    from data import terminal
    from data.files import write_text
    from flows.exports.compare import compared
    from reports.compare_page import compare_page, print_comparison

    sections, clips = compared(first, second)
    names = (first.rstrip("/"), second.rstrip("/"))
    print_comparison(terminal.console(), names, sections)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_text(output, compare_page(names, sections, clips))
        print(output)


def evaluate(
    results: Annotated[
        list[str],
        typer.Argument(
            help="A run folder, a data set, or a folder of run folders; a second one to compare it with.",
            metavar="RESULTS [OTHER]", show_default=False,
        ),
    ],
    labels: Annotated[
        Path,
        typer.Option(
            help="Labels: CSV a clip, stretch or frame, .eaf, .TextGrid, ABAW's, or a folder of these.", parser=local_path,
            metavar="FILE|FOLDER",
        ),
    ],
    tier: Annotated[
        list[str] | None, typer.Option(help="ELAN, Praat: the tier that holds labels; repeat it for several raters.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else on stdout.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Also write .csv, .html or .json.", parser=local_path, metavar="FILE")
    ] = None,
) -> None:
    """Say how far answers agree with labels: figures, calibration, by speaker, with and without each modality.

    Example: dyad evaluate results --labels labels.csv -o evaluation.html
    """
    import json
    import sys

    from data import terminal
    from data.errors import InputError
    from flows.evaluation import evaluate as evaluated
    from flows.evaluation import written
    from reports.evaluation.tables import print_evaluation

    if len(results) > 2:
        raise InputError(f"{len(results)} folders are named; give one, or two to compare.")
    write = None if output is None else written(output)
    document = evaluated(results, labels, tier or ())
    if as_json:
        sys.stdout.write(json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        print_evaluation(terminal.console(), document)
    if write is not None:
        write(document)
        sys.stderr.write(f"{output}\n")
