"""`dyad evaluate`: the answers in run folders and data sets against labels, with and without each modality; nothing is recognised
again, the stored probabilities of the modalities are fused anew."""

import functools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ValidationError

from configs.settings import Settings
from data.corpora.known import corpus_of_file
from data.csv_files import write_csv
from data.emotions import BASIC_EMOTIONS, Compound
from data.errors import InputError
from data.files import write_text
from data.fused import Fusion, strongest
from data.manifest.given_labels import ClipLabels, GivenLabels, LabelledClip, consensus, read_labels
from data.run_folder import RunFolder
from data.scores import MODALITIES, Scores
from data.version import version
from flows.backends.score_table import trained_on
from flows.clip.steps.fuse import pooling
from flows.exports.compare import settings_tree
from flows.exports.source import ExportSource, items, source_at
from fusion.composer import DEFAULT_COMPOSER, read_composer
from fusion.fuse import compose_compounds
from fusion.over_time import at_times, timeline
from fusion.weights import DEFAULT_WEIGHTS
from reports.dataset.figures import trained_on_sentence
from reports.documents import ResultDocument
from reports.evaluation.document import EvaluationDocument
from reports.evaluation.gather import Answers, ClipMeasured, Evaluation, Raters, Said, Variants, differences
from reports.exports.clip import ClipAnswer, Item
from reports.exports.formats import format_named
from reports.result import summary

Fuse = Callable[[Sequence[Scores]], Fusion]
ALIKE = 0.01
"""By how much fused probabilities may differ from the stored ones: these are rounded."""
SHOWN = 5
"""So many names are told in a note."""
NOT_AGAIN = "The modalities are not told apart, since PFSA compares features, which results do not hold."


def evaluate(results: Sequence[str], labels: Path, tiers: Sequence[str] = ()) -> EvaluationDocument:
    """How the answers in a folder, or in two, agree with `labels` (`data.manifest.given_labels.read_labels`).

    Folders are run folders, folders of them, or data sets, here or at an address. Of two only clips count that both have, by
    their ids. InputError where no clip has a label, or labels cannot be read.
    """
    sources = [source_at(result) for result in results]
    compounds = _compounds(sources)
    kept = set.intersection(*map(_ids, sources)) if len(sources) > 1 else None
    if kept is not None and not kept:
        raise InputError(f"{results[0]} and {results[1]} have no clip in common, by their ids; nothing can be compared.")
    evaluations, figures = [], []
    for name, source in zip(results, sources, strict=True):
        reading = _Reading(source, read_labels(labels, compounds, tiers), kept)
        evaluations.append(reading.evaluation(compounds))
        figures.append(evaluations[-1].figures(name, reading.counts, reading.notes()))
    compared = differences(*evaluations) if len(evaluations) > 1 else {}
    return {"dyad": version(), "labels": str(labels), "results": figures, "differences": compared}


def written(output: Path) -> Callable[[EvaluationDocument], None]:
    """What writes an evaluation to a file, by its ending; InputError for another ending, before anything is measured."""
    from reports.evaluation.page import evaluation_page
    from reports.evaluation.tables import evaluation_table

    writers: dict[str, Callable[[EvaluationDocument], None]] = {
        ".csv": lambda document: write_csv(output, evaluation_table(document)),
        ".html": lambda document: write_text(output, evaluation_page(document)),
        ".json": lambda document: write_text(output, json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n"),
    }
    if output.suffix.lower() not in writers or output.is_dir():
        raise InputError(f"{output}: an evaluation is written as {', '.join(writers)}; name such a file with -o.")
    output.parent.mkdir(parents=True, exist_ok=True)
    return writers[output.suffix.lower()]


def _clips(source: ExportSource) -> Iterator[Item]:
    return items(source, replace(format_named("json"), frames=True))


def _ids(source: ExportSource) -> set[str]:
    if source.is_run:
        return {item.clip_id for item in items(source, format_named("json"))}
    return {row["clip_id"] for row in source.status()}


def _compounds(sources: Sequence[ExportSource]) -> tuple[Compound, ...]:
    """The compounds that the answers were composed into; InputError where two were composed differently."""
    found: dict[tuple[Compound, ...], str] = {}
    for source in sources:
        first = next((item for item in items(source, format_named("json")) if isinstance(item, ClipAnswer)), None)
        if first is None:
            raise InputError(f"No clip of {source.root} has an answer; recognise them first.")
        found.setdefault(_compounds_of(first.result), str(source.root))
    if len(found) > 1:
        raise InputError(f"{' and '.join(found.values())} were recognised with different compounds; use one set for both.")
    return next(iter(found))


def _compounds_of(result: ResultDocument) -> tuple[Compound, ...]:
    return tuple(Compound(**entry) for entry in result["compounds"])


class _Reading:
    """The clips of one source with their labels, and what there is to tell about them."""

    def __init__(self, source: ExportSource, labels: GivenLabels, kept: set[str] | None) -> None:
        self.source, self.labels, self.kept = source, labels, kept
        self.counts = {"labelled": 0, "unlabelled": 0, "unanswered": 0, "left_out": 0}
        self._unlabelled: list[str] = []
        self._fused_otherwise: list[str] = []
        self._not_fused = dict[str, None]()
        self._corpora = Counter[str]()
        self._settings_of_corpus: Mapping[str, object] = {}

    def evaluation(self, compounds: tuple[Compound, ...]) -> Evaluation:
        """Take in every clip; InputError where none has a label."""
        evaluation = Evaluation([compound.name for compound in compounds])
        for item in _clips(self.source):
            if self.kept is not None and item.clip_id not in self.kept:
                self.counts["left_out"] += 1
                continue
            clip = self._located(item)
            given = self.labels.of(clip)
            if given is None:
                self.counts["unlabelled"] += 1
                self._unlabelled.append(item.clip_id or clip.path)
                continue
            self.counts["labelled"] += 1
            if isinstance(item, ClipAnswer):
                if _compounds_of(item.result) != compounds:
                    raise InputError(f"{item.clip_id} was recognised with other compounds than the rest; recognise it again.")
                evaluation.add(self._answered(item, clip, given))
            else:
                self.counts["unanswered"] += 1
                evaluation.add(_unanswered(clip, given))
        if not self.counts["labelled"] and not self._unlabelled:
            raise InputError(
                f"No clip in {self.source.root} has an id that the other folder has; folders of clips must be called as their "
                "results say: leave them their names, or recognise the clips again into an empty folder."
            )
        if not self.counts["labelled"]:
            others = f", those that labels are of {_some(called)}" if (called := self.labels.named()) else ""
            raise InputError(
                f"None of the clips in {self.source.root} has a label in {self.labels.source}; they are called "
                f"{_some(self._unlabelled)}{others}."
            )
        return evaluation

    def notes(self) -> list[str]:
        """What must be known besides the figures."""
        told = []
        if self.counts["left_out"]:
            told.append(f"{self.counts['left_out']} clips are left out, since only one of the folders has them.")
        if self._unlabelled:
            told.append(f"{len(self._unlabelled)} clips have no label: {_some(self._unlabelled)}.")
        if unused := self.labels.unused():
            told.append(f"{len(unused)} names in {self.labels.source} are those of no clip here: {_some(unused)}.")
        if self.counts["unanswered"]:
            told.append(f"{self.counts['unanswered']} clips have no answer, which counts as a wrong one.")
        if self._fused_otherwise:
            told.append(
                f"{len(self._fused_otherwise)} clips were fused otherwise than now ({_some(self._fused_otherwise)}): the rows "
                "of the modalities are of today's fusion; run them again to see one and the same."
            )
        if seen := trained_on_sentence(self._trained_on()):
            told.append(seen)
        return [*told, *self._not_fused]

    def _trained_on(self) -> dict[str, dict[str, int]]:
        """By modality, how many labelled clips are of corpora that its model learned, as far as names, pixels and cards tell."""
        if not self._corpora:
            return {}
        try:
            settings = Settings.model_validate(self._settings_of_corpus)
        except ValidationError:  # of another version, whose models are not those that are here
            return {}
        found = {
            name: {corpus: self._corpora[corpus] for corpus in trained_on(name, settings) if self._corpora[corpus]}
            for name in MODALITIES
        }
        return {name: clips for name, clips in found.items() if clips}

    def _located(self, item: Item) -> LabelledClip:
        frames = item.frames if isinstance(item, ClipAnswer) else None
        nothing = pd.DataFrame({"frame": np.zeros(0, np.int64), "time_s": np.zeros(0)})
        table = nothing if frames is None else frames
        if isinstance(item, ClipAnswer):
            about = item.result["clip"]
            path, start, duration = about["path"], about.get("start") or 0.0, item.duration
        else:
            path, start, end = item.path, *(float(item.status.get(name) or "nan") for name in ("start", "end"))
            start, duration = (0.0 if np.isnan(start) else start), end - start
            duration = 0.0 if np.isnan(duration) else duration
        first = self._first_frame(item) if start else 0
        return LabelledClip(
            item.clip_id, path, start, max(duration, 1e-3), table["frame"].to_numpy(np.int64) + first,
            table["time_s"].to_numpy(np.float64), self.source.is_run or len(self._all) == 1,
        )  # fmt: skip

    @functools.cached_property
    def _all(self) -> list[str]:
        return [] if self.source.is_run else [row["clip_id"] for row in self.source.status()]

    def _first_frame(self, item: Item) -> int:
        """The number in its file of the first frame of a segment."""
        folder = RunFolder(self.source.root.path / ("" if self.source.is_run else item.clip_id))
        return int(folder.finished("decode").get("notes", {}).get("first_frame", 0))

    def _answered(self, item: ClipAnswer, clip: LabelledClip, given: ClipLabels) -> ClipMeasured:
        result, windows = item.result, _windows(item.result)
        if corpus := corpus_of_file(clip.path):
            self._corpora[corpus] += 1
            self._settings_of_corpus = self._settings_of_corpus or self._settings(item)
        raters = given.of_windows(windows), given.of_times(clip.times)
        labels = Said([consensus(given.of_clip(clip.duration).values())], *map(_consensus, raters))
        sure = {
            "compounds": [_number(row.get("sureness")) for row in result["windows"]],
            "emotions": [max((_number(value) for value in row["basic"].values()), default=np.nan) for row in result["windows"]],
        }
        return ClipMeasured(
            labels, Raters(given.of_clip(clip.duration), raters[0]), _stored(item), sure, self._variants(item, clip),
            given.speaker or clip.path, given.speaker,
        )  # fmt: skip

    def _variants(self, item: ClipAnswer, clip: LabelledClip) -> Variants | None:
        """What the fusion answers with each modality alone, and without it; None where it cannot be done again."""
        result = item.result
        try:
            fuse, scores = _fusing(self._settings(item).get("fusion", {}), result), _scores(result)
        except InputError as error:
            self._not_fused[str(error)] = None
            return None
        present = {one.modality: one for one in scores if not one.is_absent}
        if not present:
            return None
        whole = fuse(scores)
        if not np.allclose(whole.basic, _basic(result), atol=ALIKE, equal_nan=True):
            self._fused_otherwise.append(item.clip_id)

        def answers(kept: Sequence[Scores]) -> Answers:
            return _of_fusion(fuse(kept or [Scores.absent(MODALITIES[0], whole.windows, "")]), item, clip.times)

        together = answers(scores)
        alone = {name: answers([one]) for name, one in present.items()}
        # A clip that lacks a modality is among those without it as it is: what it adds is measured over all clips.
        rest = {name: [one for other, one in present.items() if other != name] for name in present}
        without = {one.modality: answers(rest[one.modality]) if one.modality in rest else together for one in scores}
        return Variants(together, alone, without)

    def _settings(self, item: ClipAnswer) -> Mapping[str, object]:
        folder = self.source.root if self.source.is_run else self.source.root / item.clip_id
        return settings_tree(folder)


def _fusing(settings: object, result: ResultDocument) -> Fuse:
    """The fusion and composition that a result was made with, as a function of scores."""
    asked = result["fusion"]
    if asked["composition"] == "pfsa":
        raise InputError(NOT_AGAIN)
    own = settings if isinstance(settings, Mapping) else {}
    weights, composer = (Path(str(own[name])) if own.get(name) else None for name in ("weights", "composer"))
    pool, learned = _pooling(weights or DEFAULT_WEIGHTS), _composer(composer or DEFAULT_COMPOSER)

    def fuse(scores: Sequence[Scores]) -> Fusion:
        return compose_compounds(
            pool(scores), _compounds_of(result), asked["composition"], composer=learned,
            none_threshold=asked.get("none_threshold", 1.0), over_time=asked.get("over_time", "plain"),
            context_seconds=asked.get("context_seconds", 0.0),
        )  # fmt: skip

    return fuse


_pooling, _composer = functools.lru_cache(pooling), functools.lru_cache(read_composer)


def _scores(result: ResultDocument) -> list[Scores]:
    """The modalities' probabilities as they are stored; InputError for a modality that this installation lacks."""
    windows, found = _windows(result), []
    for name, entry in result["modalities"].items():
        values = np.array(entry["probabilities"], np.float32).reshape(len(windows), len(BASIC_EMOTIONS))
        present = np.array(~np.isnan(values[:, 0]))
        if name not in MODALITIES:
            if present.any():
                raise InputError(f"The modalities are not told apart, since {name} was added to another installation.")
            continue
        values[~present] = np.nan
        values[present] /= values[present].sum(1, keepdims=True)
        quality = np.array(entry.get("quality", [None] * len(windows)), np.float32)
        found.append(Scores(name, windows, values, present, quality=quality))
    return found


def _windows(result: ResultDocument) -> NDArray[np.float64]:
    return np.array([(row["start"], row["end"]) for row in result["windows"]], np.float64).reshape(-1, 2)


def _basic(result: ResultDocument) -> NDArray[np.float64]:
    rows = [[row["basic"][name] for name in BASIC_EMOTIONS] for row in result["windows"]]
    return np.array(rows, np.float64).reshape(-1, len(BASIC_EMOTIONS))


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _consensus(raters: Mapping[str, Sequence[str]]) -> list[str]:
    return [consensus(labels) for labels in zip(*raters.values(), strict=True)]


def _unanswered(clip: LabelledClip, given: ClipLabels) -> ClipMeasured:
    """A clip without an answer: it counts as a clip, and nobody knows its windows."""
    whole = given.of_clip(clip.duration)
    nothing = {kind: Said([""], [], []) for kind in ("compounds", "emotions")}
    return ClipMeasured(
        Said([consensus(whole.values())], [], []), Raters(whole, {}), nothing, {kind: [] for kind in nothing}, None,
        given.speaker or clip.path, given.speaker,
    )  # fmt: skip


def _stored(item: ClipAnswer) -> Answers:
    """The answers of a clip as they are stored."""
    told, rows, frames = item.result["summary"], item.result["windows"], item.frames
    at_frames = pd.DataFrame(columns=["top", *BASIC_EMOTIONS]) if frames is None else frames
    return {
        "compounds": Said([told["top"] or ""], [row["top"] or "" for row in rows], at_frames["top"].fillna("").tolist()),
        "emotions": Said(
            _strongest(np.array([[told["basic"][name] for name in BASIC_EMOTIONS]], np.float64)), _strongest(_basic(item.result)),
            _strongest(at_frames[list(BASIC_EMOTIONS)].to_numpy(np.float64)),
        ),
    }  # fmt: skip


def _of_fusion(fusion: Fusion, item: ClipAnswer, times: NDArray[np.float64]) -> Answers:
    """The answers that a fusion gives for a clip, its windows and its frames at `times` (s)."""
    told = summary(fusion, timeline(fusion), item.result["clip"]["duration"], item.result["modalities"])
    moments, names = at_times(fusion, times), [one.name for one in fusion.compounds]
    mean = np.array([[told["basic"][name] for name in BASIC_EMOTIONS]], np.float64)
    compounds = ([names[index] if index >= 0 else "" for index in winner.tolist()] for winner in (fusion.winner, moments.winner))
    return {
        "compounds": Said([told["top"] or ""], *compounds),
        "emotions": Said(_strongest(mean), _strongest(fusion.basic), _strongest(moments.basic)),
    }


def _strongest(basic: NDArray[np.float64]) -> list[str]:
    """The likeliest emotion of each row; '' for a row of NaN."""
    return [BASIC_EMOTIONS[index] if index >= 0 else "" for index in strongest(basic).tolist()]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
