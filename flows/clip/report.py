"""`dyad report`: the page about a clip or a data set, made from its folder."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from data.json_files import read_json

if TYPE_CHECKING:
    import pandas as pd

    from data.run_folder import RunFolder
    from reports.documents import ResultDocument


def write_report(folder: "RunFolder") -> Path:
    """Write `report.html` into a run folder from the files in it; InputError when it holds no answer."""
    from data.files import write_text
    from reports.page.page import report_page

    result = read_result(folder)
    page = folder.report
    settings = folder.settings.read_text(encoding="utf-8") if folder.settings.is_file() else ""
    address = media_address(Path(result["clip"]["path"]), folder.root)
    _write_pictures(folder, result)
    poster = folder.poster.read_bytes() if folder.poster.is_file() else None
    files = _files(folder, address)
    made = report_page(
        result, media=address, settings=settings, poster=poster, files=files, more=_others(folder, files), **_tables(folder)
    )
    write_text(page, made)
    return page


def _files(folder: "RunFolder", media: str | None) -> dict[str, str]:
    """What the page links: the files that lie beside it, exports among them, the media, and the page of the data set."""
    from urllib.parse import quote

    from data.dataset_files import JOURNAL, REPORT
    from reports.exports.formats import FORMATS

    exports = {name: folder.export(form.suffix) for name, form in FORMATS.items()}
    own = {"result.json": folder.result, "windows.parquet": folder.windows, "transcript.vtt": folder.transcript, **exports}
    files = {name: f"./{quote(path.name)}" for name, path in own.items() if path.is_file()}
    files |= {"media": media} if media else {}
    files |= {"the data set": f"../{REPORT}"} if (folder.root.parent / JOURNAL).is_file() else {}
    return files


def _others(folder: "RunFolder", files: Mapping[str, str]) -> str:
    """The commands that write what people look for first and is not there, and that link it."""
    from shlex import quote

    missing = [name for name in ("csv", "xlsx", "vtt") if name not in files]
    if not missing:
        return ""
    where = quote(folder.root.name)  # whoever is given the page learns nothing of its maker's folders
    named = f"{', '.join(missing[:-1])} or {missing[-1]}" if len(missing) > 1 else missing[0]
    file = quote(f"{folder.root.name}/{folder.export(f'.{missing[0]}').name}")
    return f"As {named}, in the folder above: dyad export {where} -o {file}; dyad report {where} then links it here."


def _write_pictures(folder: "RunFolder", result: "ResultDocument") -> None:
    """Write `thumbnail.jpg` and `poster.jpg` while the frames are there; afterwards those that were made then stay."""
    from data.files import atomic_path
    from reports.render.thumbnail import POSTER, THUMBNAIL, make_picture, surest_time

    notes = folder.finished("decode").get("notes", {})
    frames, index = (folder.work / (notes.get(kind) or "none") for kind in ("frames", "index"))
    if not (frames.is_file() and index.is_file()):
        return
    for path, size in ((folder.thumbnail, THUMBNAIL), (folder.poster, POSTER)):
        if made := make_picture(frames, index, surest_time(result), size):
            with atomic_path(path) as aside:
                aside.write_bytes(made)


def media_address(media: Path, folder: Path) -> str | None:
    """How a page in `folder` reaches the media: relative where it lies nearby, so that both can be moved together, else
    file:; None when it is gone."""
    from urllib.parse import quote

    if not media.is_file():
        return None
    try:
        relative = Path(os.path.relpath(media.resolve(), folder.resolve()))
    except ValueError:  # another drive of Windows
        return media.resolve().as_uri()
    near = relative.parts.count("..") <= 2
    return "./" + quote(relative.as_posix()) if near else media.resolve().as_uri()


def read_result(folder: "RunFolder") -> "ResultDocument":
    """The content of a run's result.json; InputError when it holds no answer."""
    from data.errors import InputError

    try:
        content = read_json(folder.result)
    except (OSError, ValueError):
        raise InputError(f"{folder.root} holds no readable result.json; name a clip's folder that 'dyad run' wrote.") from None
    if not isinstance(content, dict) or "windows" not in content:
        raise InputError(f"{folder.result} is no answer about a clip; name the folder of a clip that 'dyad run' wrote.")
    return cast("ResultDocument", content)


def run_folders(paths: Iterable[Path]) -> "list[RunFolder]":
    """The run folders named: themselves, the result.json in it, or a folder of them; InputError where there is none."""
    from data.errors import InputError
    from data.run_folder import RunFolder

    found: list[RunFolder] = []
    for path in paths:
        one = RunFolder(path.parent if path.name == "result.json" else path)
        inside = [one] if one.result.is_file() else [RunFolder(file.parent) for file in sorted(path.glob("*/result.json"))]
        if not inside:
            raise InputError(f"{path} is neither a run folder nor a folder of them: no result.json there; see 'dyad run --help'.")
        found += inside
    return found


def folder_faces(folder: "RunFolder") -> "pd.DataFrame | None":
    """The faces of a run with their persons, where these were told apart; None where there are no faces."""
    from data.people import read_people, with_persons
    from data.tables import read_table

    if not folder.faces.is_file():
        return None
    faces, people = read_table(folder.faces), read_people(folder.people)
    return faces if people is None else with_persons(faces, people)


def _tables(folder: "RunFolder") -> dict[str, Any]:
    """Transcript, scene descriptions and faces of a run, None where there are none."""
    from data.media.subtitles import read_transcript
    from data.tables import read_table

    described, words = folder.evidence("scene_context"), folder.transcript
    return {
        "transcript": read_transcript(words) if words.is_file() else None,
        "descriptions": read_table(described) if described.is_file() else None,
        "faces": folder_faces(folder),
        "pictures": read_table(folder.face_pictures) if folder.face_pictures.is_file() else None,
    }
