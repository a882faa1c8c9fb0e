"""An answer in words, said in one way by terminal, page, notebook, exports and Prefect: what is shown, for how long, how surely.

An answer is a compound, or where none wins the strongest emotion alone; without evidence there is none, and that is said too.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from data.errors import InputError
from data.people import FITS, called
from reports.documents import ModalityEntry, Numbers, PersonAnswer, PersonEntry, ResultDocument, StretchEntry, WindowEntry

NO_EVIDENCE = "no evidence"
SURENESS = ((0.85, "very sure"), (0.7, "sure"), (0.5, "fairly sure"), (0.3, "rather unsure"), (0.0, "very unsure"))
"""From which sureness on which words hold."""
SURENESS_COLUMNS = ("sureness", "sureness_low", "sureness_high")
"""Of an answer, in tables: how likely it is right, and the range of that."""
SURENESS_MEANS = "how likely the answer is right, by answers of other data whose truth is known; in brackets its 95 % range"
BLEND_MEANS = "how evenly the compound's two emotions are mixed: 1 half and half, near 0 one alone; not how likely it is right"
LACKS = {"static_face": "no face", "dynamic_face": "no face", "voice": "no speech", "text": "no words"}
"""What is not there where a modality is absent."""
MOST_NAMED = 3
GAP = 1.0
"""Seconds without evidence that the headline tells of; a tail of less is no window."""


def seconds(value: float | None) -> str:
    """Seconds as minutes and seconds: 75.25 -> '1:15.2'."""
    if value is None:
        return ""
    tenths = int(value * 10)
    return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"


def figure(value: float | None) -> str:
    """A share with two decimals, a dash for none."""
    return "–" if value is None else f"{value:.2f}"


def title(name: str | None) -> str:
    """A compound's name as people write it, a dash for none."""
    return name.replace("_", " ") if name else "–"


def answer_name(row: StretchEntry) -> str:
    """What a stretch shows: its compound, or the emotion alone; as in the data."""
    return row["compound"] or row["emotion"]


def window_answer(row: WindowEntry) -> str | None:
    """What a window shows, likewise; None without evidence."""
    return row["top"] or emotion_of(row)


def emotion_of(row: WindowEntry) -> str | None:
    """The strongest basic emotion of a window; None without evidence."""
    known = {name: value for name, value in row["basic"].items() if value is not None}
    return max(known, key=lambda name: known[name]) if known else None


def surely(sureness: float | None, within: Sequence[float | None] | None = None) -> str:
    """'fairly sure, 0.62', with its range 'fairly sure, 0.62 (0.55 to 0.70)'; '' where unknown, as in older results."""
    if sureness is None:
        return ""
    words = next(said for least, said in SURENESS if round(sureness, 2) >= least)
    told = "" if within is None or None in within else f" ({within[0]:.2f} to {within[1]:.2f})"
    return f"{words}, {sureness:.2f}{told}"


def said(row: StretchEntry, *, within: bool = False) -> str:
    """A stretch in words: 'angrily surprised, fairly sure, 0.62'."""
    sure = surely(row.get("sureness"), row.get("sureness_range") if within else None)
    return ", ".join(filter(None, (title(answer_name(row)), sure)))


def headline(
    timeline: Sequence[StretchEntry], duration: float, modalities: Mapping[str, ModalityEntry],
    there: Sequence[Sequence[float]] | None = None,
) -> str:  # fmt: skip
    """The clip in a sentence: 'Angrily surprised for 2.0 of 10.0 s; otherwise neutral.'

    `there`: from when to when (s) the person is seen or heard whom it is about; where that is clearly less than the timeline,
    whose windows are longer, it tells of that time alone: 'Neutral for 1.2 of 5.0 s, while seen or heard.'
    """
    if not timeline:
        return f"No evidence: {missing_evidence(modalities)}."
    parts_there = [] if there is None else _while(timeline, there)
    is_part = bool(parts_there) and _length(parts_there) < _length(timeline) - GAP
    timeline = parts_there if is_part else timeline
    compounds = _totals(row for row in timeline if row["compound"])
    emotions = _totals(row for row in timeline if not row["compound"])
    known = _length(timeline)
    whole = known >= duration - GAP
    then = ", while seen or heard" if is_part else ""
    if compounds:
        parts = [_for(compounds, duration, whole and not emotions) + then]
        parts += [f"otherwise {_listed(emotions)}"] if emotions else []
    else:
        first = max(emotions, key=lambda name: emotions[name])
        others = {name: value for name, value in emotions.items() if name != first}
        parts = [_for({first: emotions[first]}, duration, whole and not others) + then]
        parts += [f"otherwise {_listed(others)}"] if others else []
        parts += ["no compound expression"]
    parts += [] if whole or is_part else [f"no evidence for {_time(duration - known)}"]
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + "."


def whom(person: int | None, people: Sequence[PersonEntry]) -> PersonEntry | None:
    """The person of this number."""
    return next((one for one in people if one["person"] == person), None)


def about(result: ResultDocument) -> PersonEntry | None:
    """Whom the clip's answer is about; None for everybody, and where nobody is known."""
    people = result.get("people", ())
    if "person" in result:
        return whom(result["person"], people)
    return next((one for one in people if one["main"] and one.get("answer")), None)  # a result of an older version


def others(result: ResultDocument) -> list[tuple[PersonEntry, PersonAnswer]]:
    """The persons who have an answer beside the clip's own."""
    main = about(result)
    return [(one, answer) for one in result.get("people", ()) if one is not main and (answer := one.get("answer"))]


def numbered(result: ResultDocument, person: str) -> PersonEntry:
    """The person of this number or name, who has an answer; InputError where there is none."""
    wanted, main = person.strip().casefold(), about(result)
    for one in result.get("people", ()):
        if wanted in (str(one["person"]), name_of(one).casefold()) and (one is main or one.get("answer")):
            return one
    known = ", ".join(name_of(one) for one in result.get("people", ())) or "nobody"
    raise InputError(f"There is no answer about '{person}' in {result['clip']['clip_id']}; there are: {known}.")


def of_people(sentence: str, person: int | None, people: Sequence[PersonEntry]) -> str:
    """The clip's sentence with the name of the `person` whom it is about, and what the others show: 'Anna: Neutral throughout
    (9.0 s). Others: Bob anger.', or where it is about everybody what each shows. As it is where nobody else is there."""
    main = whom(person, people)
    answers = [(name_of(one), one.get("answer")) for one in people if one is not main]
    told = [f"{name} {shown}" for name, answer in answers if answer and (shown := _briefly(answer))]
    if len(people) < 2 or not told:
        return sentence
    more = [f"{len(told) - MOST_NAMED} more"] if len(told) > MOST_NAMED else []
    listed = ", ".join(told[:MOST_NAMED] + more)
    return f"{name_of(main)}: {sentence} Others: {listed}." if main else f"{sentence} Each: {listed}."


def out_of_step(people: Sequence[PersonEntry]) -> list[str]:
    """A sentence for each of those whose mouth does not fit what is heard."""
    return [
        f"The mouth of {name_of(one)} does not go with the voice that is heard ({fits:.2f}; {FITS} or more where it does): the "
        "clip is dubbed, its sound is out of step, or somebody else speaks. Judge face and voice apart."
        for one in people
        if (fits := one.get("lip_sync")) is not None and fits < FITS
    ]


def name_of(one: PersonEntry) -> str:
    """How a person is called where people read."""
    return called(one["person"], one["name"])


def _briefly(answer: PersonAnswer) -> str:
    """What a person shows for longest; '' without evidence."""
    totals = _totals(answer["timeline"])
    return title(next(iter(totals))) if totals else ""


def missing_evidence(modalities: Mapping[str, ModalityEntry]) -> str:
    """'no face, no speech and no words'; of modalities that failed, their names."""
    lacking = [LACKS[name] for name, entry in modalities.items() if name in LACKS and entry["state"] != "failed"]
    failed = [f"{title(name)} failed" for name, entry in modalities.items() if entry["state"] == "failed"]
    return _and(list(dict.fromkeys([*lacking, *failed]))) or "nothing could be judged"


def whole_answer(result: ResultDocument) -> dict[str, float]:
    """The clip's means that add up to 1: 'none' first, then the compounds; empty without evidence."""
    none, shares = result["summary"].get("none"), joint(result)
    if none is None or not shares:
        return {}
    return {"none": none, **shares}


def joint(result: ResultDocument) -> dict[str, float]:
    """Mean over the windows with evidence of (1 - none) x each compound, by name."""
    rows = [joint_of(row) for row in result["windows"] if row["present"]]
    known = [row for row in rows if row]
    names = [entry["name"] for entry in result["compounds"]]
    return {name: sum(row.get(name, 0.0) for row in known) / len(known) for name in names} if known else {}


def joint_of(row: WindowEntry) -> dict[str, float]:
    """(1 - none) x each compound of a window: with `none` these add up to 1; empty where unknown."""
    none, values = row.get("none"), _known(row["compound"])
    return {} if none is None else {name: (1.0 - none) * value for name, value in values.items()}


def _known(values: Numbers) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def _totals(rows: Iterable[StretchEntry]) -> dict[str, float]:
    """Seconds by what is shown, the longest first."""
    seconds: dict[str, float] = {}
    for row in rows:
        seconds[answer_name(row)] = seconds.get(answer_name(row), 0.0) + row["end"] - row["start"]
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def _while(timeline: Iterable[StretchEntry], there: Sequence[Sequence[float]]) -> list[StretchEntry]:
    """The parts of the timeline's stretches within some spans."""
    spans = ((row, max(row["start"], start), min(row["end"], end)) for row in timeline for start, end in there)
    return [cast(StretchEntry, {**row, "start": begin, "end": stop}) for row, begin, stop in spans if stop > begin]


def _length(rows: Iterable[StretchEntry]) -> float:
    return sum(row["end"] - row["start"] for row in rows)


def _for(seconds: Mapping[str, float], duration: float, throughout: bool) -> str:
    """'angrily surprised for 2.0 and sadly angry for 1.0 of 10.0 s', or 'neutral throughout (10.0 s)'."""
    if throughout and len(seconds) == 1:
        return f"{title(next(iter(seconds)))} throughout ({_time(duration)})"
    named = list(seconds.items())[:MOST_NAMED]
    rest = sum(seconds.values()) - sum(value for _, value in named)
    short = duration < 120
    parts = [f"{title(name)} for {f'{value:.1f}' if short else _time(value)}" for name, value in named]
    parts += [f"others for {f'{rest:.1f}' if short else _time(rest)}"] if rest > 0 else []
    return f"{_and(parts)} of {_time(duration)}"


def _listed(seconds: Mapping[str, float]) -> str:
    """'neutral', 'neutral and anger', 'mostly neutral'."""
    names = [title(name) for name in seconds]
    return _and(names) if len(names) <= MOST_NAMED else f"mostly {_and(names[:2])}"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} h"


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""
