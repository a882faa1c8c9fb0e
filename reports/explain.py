"""Why each window got its answer, in words: the two emotions and the modalities, in whole percents that add up."""

import math
from collections.abc import Mapping

from reports.answer import seconds, surely, title, window_answer
from reports.documents import ResultDocument, WindowEntry


def explain(result: ResultDocument) -> list[str]:
    """A sentence or two a window of `result.json`: the answer, how sure it is, and whence.

    A compound is divided between its two emotions, and each answer between the modalities that gave the evidence; both divisions
    are whole percents that add up to 100. Last, relative to what the voice was judged, where it was.
    """
    windows = [f"{seconds(row['start'])} to {seconds(row['end'])}: {_window(row)}" for row in result["windows"]]
    return windows + [f"{title(name)}: {said}" for name, said in references(result).items()]


def references(result: ResultDocument) -> dict[str, str]:
    """Relative to what a modality was judged, in sentences, by its name; only those that say it."""
    return {name: entry["reference"] for name, entry in result["modalities"].items() if entry.get("reference")}


def whole_percents(parts: Mapping[str, float]) -> dict[str, int]:
    """Parts of 1 as whole percents that add up to the rounded sum: what rounding down leaves goes to the largest rests."""
    scaled = {name: 100.0 * value for name, value in parts.items()}
    down = {name: math.floor(value) for name, value in scaled.items()}
    # Six decimals of the result make sums such as 49.99995, which is meant to be 50.
    missing = math.floor(round(sum(scaled.values()), 3) + 0.5) - sum(down.values())
    by_rest = sorted(scaled, key=lambda name: down[name] - scaled[name])
    return {name: down[name] + (name in by_rest[: max(missing, 0)]) for name in scaled}


def _window(row: WindowEntry) -> str:
    answer = window_answer(row)
    if answer is None:
        return row["reason"]
    sure = surely(row.get("sureness"), row.get("sureness_range"))
    shown = f"{title(answer)}{f', {sure}' if sure else ''}"
    given = whole_percents(_shares({name: value for name, value in row["contributions"].items() if value}))
    if row["top"] is None:
        return f"{shown}; {_by_modality(given)}. {row['reason']}{_nearest(row)}"
    halves = " and ".join(f"{percent} % {name}" for name, percent in whole_percents(_shares(row["emotion_shares"])).items())
    return f"{shown}: {halves}; {_by_modality(given)}."


def _shares(parts: Mapping[str, float]) -> dict[str, float]:
    """Parts as shares of their sum."""
    total = sum(parts.values())
    return {name: value / total for name, value in parts.items()} if total > 0 else {}


def _by_modality(given: Mapping[str, int]) -> str:
    if not given:
        return "no modality gave more than another"
    ordered = sorted(given, key=lambda name: -given[name])
    return "evidence: " + ", ".join(f"{title(name)} {given[name]} %" for name in ordered)


def _nearest(row: WindowEntry) -> str:
    """The compound that would come nearest, where there is a distribution at all."""
    known = {name: value for name, value in row["compound"].items() if value is not None}
    if not known:
        return ""
    name = max(known, key=lambda item: known[item])
    return f" The nearest would be {title(name)}."
