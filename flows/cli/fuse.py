"""`dyad fuse`: fit, apply and compare ways to fuse anybody's probabilities, from long CSV tables."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import Sections

fuse_app = typer.Typer(
    name="fuse", cls=Sections,
    help="Fuse anybody's probabilities: CSV with clip, model, label, split, fold, and a column a class.\n\n"
    "Example: dyad fuse fit mine.csv -o weights.json",
    no_args_is_help=True,
)
LongOption = Annotated[
    Path, typer.Argument(help="CSV: clip, model, label, split, fold, group (the last four optional), classes.")
]
SplitOption = Annotated[str | None, typer.Option(help="Fit on the rows of this split only.")]


@fuse_app.command("fit")
def fuse_fit(
    table: LongOption,
    output: Annotated[Path, typer.Option("-o", "--output", help="The JSON file to write.")] = Path("weights.json"),
    method: Annotated[str, typer.Option(help="auto, or one of those that 'dyad fuse compare' shows.")] = "auto",
    split: SplitOption = None,
) -> None:
    """Calibrate the models of a table and fit their fusion.

    Example: dyad fuse fit mine.csv -o weights.json
    """
    from fusion.tables.files import fit_table

    sys.stderr.write(fit_table(table, output, method, split) + "\n")


@fuse_app.command("apply")
def fuse_apply(
    weights: Annotated[Path, typer.Argument(help="What 'dyad fuse fit' wrote.")],
    table: LongOption,
    output: Annotated[Path, typer.Option("-o", "--output", help="The CSV to write: one row a clip.")],
) -> None:
    """Fuse a table by fitted weights; where it has labels, say how often the answer is right.

    A row of which something is wrong counts for nothing, is told, and makes the exit code 1.

    Example: dyad fuse apply weights.json mine.csv -o fused.csv
    """
    from fusion.tables.files import apply_table

    said, problems = apply_table(weights, table, output)
    sys.stderr.write("".join(f"{line}\n" for line in (*problems, said)))
    if problems:
        sys.exit(1)


@fuse_app.command("compare")
def fuse_compare(table: LongOption, split: SplitOption = None) -> None:
    """Compare all ways to fuse on rows that their fits did not see.

    Example: dyad fuse compare mine.csv
    """
    from fusion.tables.files import compare_table

    print(compare_table(table, split))
