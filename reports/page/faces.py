"""Faces on the report page: the boxes over the video, and a strip of small pictures of each track over time.

The pictures are chosen while the crops are there (`face_pictures`) and kept in the run folder, so that the page can be made again
without the video: a few dozen JPEGs, whatever the clip's length.
"""

import base64
import html
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reports.colours import PERSONS
from reports.page.svg import across, block, clock, drawing, span

CELLS, OTHERS = 12, 3
"""Pictures across the strip, and strips for tracks besides the main one."""
SIDE, QUALITY = 96, 80
MOST_FACES = 12000
"""As many boxes a page carries; of a longer clip every n-th looked-at frame."""
REACH = 1.0
"""Seconds between two sightings of a face through which its box moves in a straight line."""
COLUMNS = {"strip": "int32", "cell": "int32", "track_id": "int32", "time_s": "float64", "jpeg": "object"}
"""Of the table of pictures. Strip 0 is the main face, whoever that is; each other one is a track."""


class Boxes(TypedDict):
    """What the page's script draws over the video."""

    tracks: dict[str, list[list[float]]]
    names: dict[str, str]
    persons: dict[str, int]
    colours: int
    reach: float


def face_pictures(crops: Path, faces: pd.DataFrame, duration: float) -> pd.DataFrame:
    """A few small pictures of the main face and of the longest other tracks over a clip of `duration` (s): `COLUMNS`.

    `crops` is the file of uint8 [M, S, S, 3], `faces` the table of faces.parquet. Time is cut into `CELLS`; each has the face
    that is best seen (score x sharpness), none where the track is not there. At most 48 pictures, about 3 kB each.
    """
    from data.media.crops import iterate_crops

    chosen = pd.concat([_best(table, strip, duration) for strip, table in enumerate(strips(faces))])
    rows = chosen["face"].to_numpy(np.int64)
    jpegs = [_jpeg(crop) for batch in iterate_crops(crops, rows) for crop in batch] if len(rows) else []
    return chosen.assign(jpeg=jpegs)[list(COLUMNS)].astype(COLUMNS)


def strips(faces: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of the main face, and those of each of the others seen longest: by person where told apart, else by track."""
    column = "person" if "person" in faces else "track_id"
    other = faces.loc[~faces["main"]]
    known = other.loc[other["person"] > 0] if column == "person" else other
    longest = known[column].value_counts(sort=True).index[:OTHERS]
    return [faces.loc[faces["main"]], *(other.loc[other[column] == number] for number in longest)]


def _best(faces: pd.DataFrame, strip: int, duration: float) -> pd.DataFrame:
    cell = np.minimum(faces["time_s"] * CELLS / max(duration, 1e-9), CELLS - 1).astype("int32")
    seen = faces.assign(strip=strip, cell=cell, seen=faces["score"] * faces["sharpness"])
    return seen.sort_values("seen", ascending=False).drop_duplicates("cell").sort_values("cell")


def _jpeg(crop: NDArray[np.uint8]) -> bytes:
    import cv2

    small = cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    done, encoded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done
    return bytes(encoded.data)


def boxes(faces: pd.DataFrame | None) -> Boxes:
    """What the script draws over the video: for each track [time, main, x, y, width, height] by time, its person, how that is
    called, and through how many seconds without a sighting a box moves on."""
    if faces is None or faces.empty:
        return {"tracks": {}, "names": {}, "persons": {}, "colours": len(PERSONS), "reach": REACH}
    times = np.sort(faces["time_s"].unique())
    every = -(-len(faces) // MOST_FACES)
    table = faces.loc[faces["time_s"].isin(set(times[::every]))].sort_values(["track_id", "time_s"], kind="stable")
    rows = table[["time_s", "main", "x", "y", "width", "height"]].itertuples(index=False)
    tracks: dict[str, list[list[float]]] = {}
    for track, (time, main, *box) in zip(table["track_id"].tolist(), rows, strict=True):
        tracks.setdefault(str(track), []).append([round(time, 3), int(main), *(round(value) for value in box)])
    gap = float(np.median(np.diff(times[::every]))) if len(times) > every else 0.0
    firsts = table.drop_duplicates("track_id") if "called" in table else pd.DataFrame({"track_id": [], "called": []})
    names = {str(track): str(name) for track, name in zip(firsts["track_id"], firsts["called"], strict=True)}
    told_apart = zip(firsts["track_id"], firsts["person"], strict=True) if "person" in firsts else ()
    persons = {str(track): int(person) for track, person in told_apart}
    return {"tracks": tracks, "names": names, "persons": persons, "colours": len(PERSONS), "reach": round(max(REACH, 2 * gap), 3)}


def face_strips(faces: pd.DataFrame, pictures: pd.DataFrame | None, duration: float) -> Iterator[tuple[int, str, str, str]]:
    """For the main face and each of the longest other persons or tracks: the person (0: unknown), name, note and drawing.

    Under the pictures a bar shows when the track is there; of an old run, which kept no pictures, the bar alone.
    """
    for strip, table in enumerate(strips(faces)):
        if table.empty:
            continue
        name = f"Face {table['track_id'].iloc[0]}" if strip else "Main face"
        name = str(table["called"].iloc[0]) if "called" in table else name
        tracks = [str(track) for track in table["track_id"].unique()]
        listed = ", ".join(tracks[:5]) + (" ..." if len(tracks) > 5 else "")
        note = span(table["time_s"].min(), table["time_s"].max()) if strip else f"track {listed}"
        shown = pictures.loc[pictures["strip"] == strip] if pictures is not None else None
        label = f"{name}: seen in {len(table)} of the looked-at frames, {span(table['time_s'].min(), table['time_s'].max())}"
        person = int(table["person"].iloc[0]) if "person" in table else 0
        yield person, html.escape(name), note, _strip(table, shown, duration, label)


def _strip(table: pd.DataFrame, pictures: pd.DataFrame | None, duration: float, label: str) -> str:
    bars = [
        block((x, 96, width, 4), "seen", f"{span(start, end)}: face {track}")
        for track, start, end in _stretches(table)
        for x, width in [across(start, end, duration)]
    ]
    kind = "faces" if pictures is not None and len(pictures) else "faces bare"
    shown = () if pictures is None else pictures[["cell", "time_s", "track_id", "jpeg"]].itertuples(index=False)
    drawn = [_picture(*row) for row in shown]
    return drawing(bars, label, kind, drawn)


def _picture(cell: int, time_s: float, track: int, jpeg: bytes) -> str:
    data = base64.b64encode(jpeg).decode()
    box = f'x="{100 * cell / CELLS:.5g}%" width="{100 / CELLS:.5g}%" height="100%"'
    return (
        f'<svg {box}><title>{clock(time_s)}: face {track}</title>'
        f'<image href="data:image/jpeg;base64,{data}" width="100%" height="95%" preserveAspectRatio="xMidYMid slice"/>'
        f'<text x="3" y="1em">{track}</text></svg>'
    )


def _stretches(table: pd.DataFrame, most: int = 400) -> list[tuple[int, float, float]]:
    """(track, start, end) where a track is seen without a gap; the longest when there are very many."""
    found: list[tuple[int, float, float]] = []
    for track, own in table.sort_values("time_s").groupby("track_id"):
        times = own["time_s"].to_numpy()
        breaks = np.flatnonzero(np.diff(times) > REACH) + 1
        found += [(int(str(track)), float(part[0]), float(part[-1])) for part in np.split(times, breaks)]
    return sorted(found, key=lambda one: one[1] - one[2])[:most]
