"""Two run folders or data sets, here or at an address, compared."""

from collections.abc import Mapping

import yaml

from data.errors import InputError
from data.location import Location
from data.run_folder import RunFolder
from flows.exports.source import ExportSource, items, source_at
from reports.comparison import Section, SetAnswers, compare_clips, compare_sets
from reports.documents import ResultDocument
from reports.exports.clip import ClipAnswer


def compared(first: str, second: str) -> tuple[list[Section], dict[str, ResultDocument]]:
    """What two of a kind say, and of clips their results by name; InputError where one is a clip and the other a data set."""
    sources = source_at(first), source_at(second)
    if sources[0].is_run != sources[1].is_run:
        raise InputError("One of them is a clip and the other a folder of clips; name two clips, or two folders.")
    if not sources[0].is_run:
        return compare_sets(*map(_set, sources)), {}
    one, other = map(_result, sources)
    sections = compare_clips(one, other, (settings_tree(sources[0].root), settings_tree(sources[1].root)))
    return sections, {first: one, f"{second} " if first == second else second: other}


def _result(source: ExportSource) -> ResultDocument:
    (clip,) = items(source)
    assert isinstance(clip, ClipAnswer)  # a run folder that cannot be read is an InputError
    return clip.result


def _set(source: ExportSource) -> SetAnswers:
    named = zip((row["clip_id"] for row in source.status()), items(source), strict=True)
    found = SetAnswers(source.root.name, source.summary()).take(named)
    settings = (settings_tree(source.root / clip_id) for clip_id in found.answers)
    found.settings = next((tree for tree in settings if tree), {})
    return found


def settings_tree(folder: Location) -> Mapping[str, object]:
    """The tree of a run's settings.yaml; empty where it is not there."""
    file = folder / RunFolder(folder.path).settings.name
    try:
        tree = yaml.safe_load(file.read_bytes())
    except (OSError, yaml.YAMLError):
        return {}
    return tree if isinstance(tree, dict) else {}
