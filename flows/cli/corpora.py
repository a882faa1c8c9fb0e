"""`dyad faces`: cut the faces out of the pictures and clips of a manifest, for the trainings that want faces alone."""

import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data.corpora import CORPORA

if TYPE_CHECKING:
    import pandas as pd

    from modalities.faces.cut_corpus import CutOptions

BOX = ("face_x", "face_y", "face_width", "face_height")
"""Columns of a manifest with the box of a picture's face, as AffectNet gives it."""
LEFT_OUT = ("number", "problem", "start", "end", "transcript", "descriptions", "frame_labels")
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


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
    from modalities.faces.cut_corpus import CutOptions

    options = CutOptions(size, frames_per_second, DecodeSettings().longest_side, detector)
    done, problems = cut_manifest(manifest, output, root, options, workers, limit)
    for path, said in problems[:10]:
        sys.stderr.write(f"{path}: {said}\n")
    more = f"; {len(problems)} without a face are in {output / 'problems.csv'}" if problems else ""
    print(f"{done} faces in {output}{more}; next: dyad train ... --network NAME --corpus {output / 'manifest.csv'}")
    sys.exit(0 if done else 1)


def cut_manifest(
    manifest: Path, output: Path, root: Path | None, options: "CutOptions", workers: int = 1, limit: int | None = None
) -> tuple[int, list[tuple[str, str]]]:
    """Cut the faces of a manifest's rows into `output` and write its manifest.csv, and problems.csv where some have none.

    Returns how many there are, and path and reason of the others. Files that are there are not made again. Other columns of the
    manifest stay (a `context` as a whole path), but those that speak of the media file.
    """
    from data.errors import InputError
    from data.manifest.manifest import manifest_of_table, read_manifest, write_manifest

    read = read_manifest(manifest, root)
    table = read.table.head(limit) if limit else read.table
    good = table[table["problem"] == ""].reset_index(drop=True)
    if good.empty:
        raise InputError(f"No row of {manifest} can be used; the first: {table['problem'].iloc[0]}")
    good = good.assign(source=_whole(good["path"], read.root), path=_targets(good))
    said = _cut_rows(good, output, options, workers)
    bad = table[table["problem"] != ""]
    reasons = [*zip(bad["path"], bad["problem"], strict=True), *zip(good["source"], said, strict=True)]
    problems = [(str(path), str(reason)) for path, reason in reasons if reason]
    kept = good[[not reason for reason in said]]
    output.mkdir(parents=True, exist_ok=True)
    _write_problems(problems, output / "problems.csv")
    if len(kept):
        named = kept.assign(context=_whole(kept["context"], read.root)) if "context" in kept else kept
        others = [name for name in named.columns if name not in (*LEFT_OUT, *BOX, "source")]
        write_manifest(manifest_of_table(named[others], output, str(manifest)), output / "manifest.csv")
    return len(kept), problems


def _whole(paths: "pd.Series", root: str) -> list[str]:
    from data.location import Location

    return [path and str(Location(root) / path) for path in paths]


def _targets(rows: "pd.DataFrame") -> list[str]:
    """Where the face of each row goes: <split>/<clip_id>.png, or .npy for a clip."""
    endings = [".png" if path.lower().endswith(PICTURES) else ".npy" for path in rows["path"]]
    parts = zip(rows["split"], rows["clip_id"], endings, strict=True)
    return [f"{split or 'all'}/{name}{ending}" for split, name, ending in parts]


def _cut_rows(rows: "pd.DataFrame", output: Path, options: "CutOptions", workers: int) -> list[str]:
    """The sentence for each row without a face, '' for the others; each worker has a detector of its own."""
    from concurrent.futures import ThreadPoolExecutor

    said, stop, tell = [""] * len(rows), threading.Event(), _teller(len(rows))

    def work(indices: Sequence[int]) -> None:
        from modalities.faces.detectors import choose_detector

        with choose_detector(options.detector).open() as detect:
            for index in indices:
                if stop.is_set():
                    return
                said[index] = _cut_row(rows.iloc[index], output, options, detect)
                tell()

    with ThreadPoolExecutor(workers) as threads:
        running = [threads.submit(work, range(number, len(rows), workers)) for number in range(workers)]
        try:
            for one in running:
                one.result()
        finally:
            stop.set()
    return said


def _cut_row(row: Any, output: Path, options: "CutOptions", detect: Any) -> str:
    import numpy as np

    from modalities.faces.cut_corpus import cut_clip, cut_image

    target, source = output / row["path"], Path(row["source"])
    if target.is_file():
        return ""
    if target.suffix == ".npy":
        start, end = (None if np.isnan(row[name]) else float(row[name]) for name in ("start", "end"))
        return cut_clip(source, target, options, start, end)
    box = None
    if all(row.get(name) not in (None, "") for name in BOX):
        box = np.array([float(row[name]) for name in BOX])
    return cut_image(source, target, detect, options.size, box)


def _teller(total: int) -> Callable[[], None]:
    """Counts, and tells how many are done each tenth of the way."""
    count, lock, every = 0, threading.Lock(), max(total // 10, 1)

    def tell() -> None:
        nonlocal count
        with lock:
            count += 1
            if count % every == 0 or count == total:
                sys.stderr.write(f"{count} of {total}\n")

    return tell


def _write_problems(problems: Sequence[tuple[str, str]], path: Path) -> None:
    import pandas as pd

    from data.files import write_text

    if problems:
        write_text(path, pd.DataFrame(problems, columns=["path", "problem"]).to_csv(index=False))
    else:
        path.unlink(missing_ok=True)


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
    from data.corpora import corpus_manifest, corpus_named, with_pictures
    from data.manifest.manifest import write_manifest

    manifest = corpus_manifest(name, folder if pictures is None else with_pictures(name, folder, pictures), fold)
    output.parent.mkdir(parents=True, exist_ok=True)
    root = write_manifest(manifest, output)
    for note in manifest.notes:
        sys.stderr.write(f"{note}\n")
    where = f" --root {root}" if root else ""
    stills = corpus_named(name).stills
    command = "dyad train static-face --network NAME --corpus" if stills else "dyad batch"
    what = "pictures" if stills else "clips"
    print(f"{len(manifest)} {what}, {len(manifest.problems)} with problems, in {output}; next: {command} {output}{where}")
