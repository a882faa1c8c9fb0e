"""`dyad corpus` and `dyad faces`: manifests of public corpora, and the faces cut out of what a manifest names."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data.corpora import CORPORA

if TYPE_CHECKING:

    pass

def faces(
    manifest: Annotated[Path, typer.Argument(help="CSV or parquet with a column `path`: pictures or clips.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the faces and their manifest.csv.")],
    root: Annotated[Path | None, typer.Option(help="Folder that the paths start from; else the manifest's.")] = None,
    size: Annotated[int, typer.Option(min=32, max=1024, help="Side of the faces, in pixels.")] = 224,
    frames_per_second: Annotated[float, typer.Option(min=0.1, help="Frames of a clip that are looked at in a second.")] = 8.0,
    detector: Annotated[str, typer.Option(help="Face detector: auto, mediapipe or opencv.")] = "auto",
    workers: Annotated[int, typer.Option(min=1, max=64, help="Files under way at once.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many rows, the first ones.")] = None,
) -> None:
    """Cut the main face out of every picture and clip of a manifest; what is there already is left as it is.

    Example: dyad faces caer.csv --root /data/CAER -o caer-faces
    """
    from configs.schema import DecodeSettings
    from modalities.faces.cut_corpus import CutOptions, cut_manifest

    def tell(done: int, total: int) -> None:
        if done % max(total // 10, 1) == 0 or done == total:
            sys.stderr.write(f"{done} of {total}\n")

    options = CutOptions(size, frames_per_second, DecodeSettings().longest_side, detector)
    done, problems = cut_manifest(manifest, output, root, options, workers, limit, tell)
    for path, said in problems[:10]:
        sys.stderr.write(f"{path}: {said}\n")
    more = f"; {len(problems)} without a face are in {output / 'problems.csv'}" if problems else ""
    print(f"{done} faces in {output}{more}; next: dyad train ... --network NAME --corpus {output / 'manifest.csv'}")
    sys.exit(0 if done else 1)


def corpus(
    name: Annotated[
        str,
        typer.Argument(help=f"One of: {', '.join(CORPORA)}."),
    ],
    folder: Annotated[Path, typer.Argument(help="Where the corpus lies.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .csv or .parquet to write.")] = Path("manifest.csv"),
    fold: Annotated[int | None, typer.Option(help="The fold to test on, for corpora that come in folds.")] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="FER+ alone: a folder that the faces of fer2013.csv are written into as pictures.")
    ] = None,
) -> None:
    """Make a manifest of a corpus as its authors distribute it.

    Example: dyad corpus ravdess ../shared/datasets/audio/ravdess_speech -o ravdess.csv
    """
    from data.corpora import corpus_manifest, corpus_named, with_images
    from data.manifest.manifest import write_manifest

    manifest = corpus_manifest(name, folder if pictures is None else with_images(name, folder, pictures), fold)
    output.parent.mkdir(parents=True, exist_ok=True)
    root = write_manifest(manifest, output)
    for note in manifest.notes:
        sys.stderr.write(f"{note}\n")
    where = f" --root {root}" if root else ""
    stills = corpus_named(name).stills
    command = "dyad train static-face --network NAME --corpus" if stills else "dyad batch"
    what = "pictures" if stills else "clips"
    print(f"{len(manifest)} {what}, {len(manifest.problems)} with problems, in {output}; next: {command} {output}{where}")
