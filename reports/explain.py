"""Why each window got its answer, in words: the two emotions and the modalities, in whole percents that add up."""

import math
from collections.abc import Mapping

from reports.documents import ResultDocument, WindowEntry
from reports.markdown import seconds, title


def explain(result: ResultDocument) -> list[str]:
    """A sentence or two a window of `result.json`.

    The probability of a winner (among the compounds) is divided between its two emotions, and again between the modalities
    that gave the evidence; both divisions add up to it, as numbers in the result and as whole percents here.
    """
    return [f"{seconds(row['start'])} to {seconds(row['end'])}: {_window(row)}" for row in result["windows"]]


def whole_percents(parts: Mapping[str, float]) -> dict[str, int]:
    """Parts of 1 as whole percents that add up to the rounded sum: what rounding down leaves goes to the largest rests."""
    scaled = {name: 100.0 * value for name, value in parts.items()}
    down = {name: math.floor(value) for name, value in scaled.items()}
    # Six decimals of the result make sums such as 49.99995, which is meant to be 50.
    missing = math.floor(round(sum(scaled.values()), 3) + 0.5) - sum(down.values())
    by_rest = sorted(scaled, key=lambda name: down[name] - scaled[name])
    return {name: down[name] + (name in by_rest[: max(missing, 0)]) for name in scaled}


def _window(row: WindowEntry) -> str:
    if row["top"] is None:
        return f"{row['reason']}{_nearest(row)}"
    emotions = whole_percents(row["emotion_shares"])
    given = whole_percents({name: value for name, value in row["contributions"].items() if value})
    sure = "" if row.get("none") is None else f" None of the compounds: {row['none']:.0%}."
    halves = " and ".join(f"{percent} from {name}" for name, percent in emotions.items())
    return f"{title(row['top'])}, {sum(emotions.values())} %: {halves}; {_by_modality(given)}.{sure}"


def _by_modality(given: Mapping[str, int]) -> str:
    if not given:
        return "no modality gave more than another"
    ordered = sorted(given, key=lambda name: -given[name])
    return "by modality " + ", ".join(f"{title(name)} {given[name]}" for name in ordered)


def _nearest(row: WindowEntry) -> str:
    """The compound that would come nearest, where there is a distribution at all."""
    known = {name: value for name, value in row["compound"].items() if value is not None}
    if not known:
        return ""
    name = max(known, key=lambda item: known[item])
    return f" The nearest would be {title(name)}."
