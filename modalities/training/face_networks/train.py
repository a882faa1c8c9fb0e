"""Training of the face networks of the literature on a user's corpus: `dyad train static-face|dynamic-face --network NAME`."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from data.batches import BATCH
from data.corpora.known import corpus_of
from data.errors import InputError, WeightsError
from data.files import digest, file_digest, write_text
from data.metrics import calibration_error, per_class_recall, scores_of_counts
from data.precision import Precision
from modalities.face_networks.contexts import read_context
from modalities.face_networks.own_checkpoints import class_settings, save_trained
from modalities.face_networks.parts.base import FaceNetwork
from modalities.face_networks.parts.clip_face import ClipFaceNetwork
from modalities.face_networks.registry import Kind, NetworkInput, NetworkRow, build_network, network_table
from modalities.loading.checkpoint import Card
from modalities.loading.devices import precision_of
from modalities.loading.state_dicts import JsonObject, read_state_dict
from modalities.training.common import Progress, Report, command_line, silent
from modalities.training.face_networks.batches import BatchMaker
from modalities.training.face_networks.corpus import FaceCorpus, FaceSample, read_face_corpus, views_in_order, without_time
from modalities.training.face_networks.loop import AddedStills, TrainingPlan, TrainingState, fit, read_best
from modalities.training.face_networks.lora import add_lora, merge_lora
from modalities.training.face_networks.ranks import Ranks, joined, own_device
from modalities.training.face_networks.recipes import recipes_of


@dataclass(frozen=True)
class FaceTrainingOptions:
    """What a training can be told beside network, corpus and folder.

    fold: the official fold to test; root: the folder that the manifest's paths start from, else the manifest's own; labels: a
    name of the table's label orders ('': the network's own); clip: weights of a CLIP; start: a checkpoint to start from;
    prompts: content of a prompt file; streams: draw landmarks and parsing masks for networks that read them; lora: rank of
    low-rank adapters in CLIP's image tower, 0 for none; recipe, settings, reads: changes of the recipe, of the network's
    settings, of its input; save_every: steps between two states that a training can go on from; stills: a manifest of images
    that a network for both kinds is trained on along with clips.
    """

    fold: int | None = None
    root: Path | None = None
    labels: str = ""
    clip: Path | None = None
    start: Path | None = None
    prompts: Mapping[str, object] | None = None
    streams: bool = False
    lora: int = 0
    recipe: Mapping[str, object] | None = None
    settings: Mapping[str, object] | None = None
    reads: JsonObject | None = None
    device: str = "cpu"
    precision: Precision = "auto"
    save_every: int = 200
    stills: Path | None = None


@dataclass(frozen=True)
class Files:
    """Where a training writes: weights, card, curves as CSV and JSON; and, until it has ended, state and best weights."""

    weights: Path
    card: Path
    curves: Path
    curves_json: Path
    resume: Path
    best: Path


def files_of(output: Path, kind: Kind, network: str, fold: int | None = None) -> Files:
    """The files of a training in `output`: <kind>-<network>[-foldK] with different endings."""
    return files_named(output, f"{kind}-{network}" + (f"-fold{fold}" if fold is not None else ""))


def files_named(output: Path, stem: str) -> Files:
    """The files of a training in `output` that start with `stem`."""
    names = (".safetensors", ".md", ".curves.csv", ".curves.json", ".resume.pt", ".best.safetensors")
    return Files(*(output / f"{stem}{name}" for name in names))


def train(
    data: Path, output: Path, *, network: str, kind: Kind = "static", seed: int = 7, epochs: int | None = None,
    limit: int | None = None, options: FaceTrainingOptions | None = None, report: Report = silent,
) -> Card:  # fmt: skip
    """Train a network of the table on the manifest `data`; write weights, card and curves into `output` (see `files_of`).

    The weights with the best mean of UAR and WAR on the validation part are kept; the test part is answered once, at the end.
    A broken-off training goes on where it was when it is started again with the same arguments. InputError for a corpus or
    arguments that do not fit; WeightsError for weights that do not.
    """
    chosen = options or FaceTrainingOptions()
    chosen = replace(chosen, device=own_device(chosen.device))
    with joined(chosen.device) as ranks:
        return _train(data, output, network, kind, seed, epochs, limit, chosen, report, ranks)


def _train(
    data: Path, output: Path, network: str, kind: Kind, seed: int, epochs: int | None, limit: int | None,
    chosen: FaceTrainingOptions, report: Report, ranks: Ranks,
) -> Card:  # fmt: skip
    row, table = network_table().choose(network, kind), network_table()
    labels = table.labels(chosen.labels or row.labels[kind])
    corpus = read_face_corpus(data, labels, fold=chosen.fold, seed=seed, limit=limit, root=chosen.root)
    chosen = with_context_length(row, corpus, chosen)
    settings, stills = network_settings(row, labels, kind, chosen), _read_stills(row, kind, labels, seed, chosen)
    built = new_network(row, settings, chosen, seed)
    files, reads = files_of(output, kind, network, chosen.fold), network_input(row, kind, chosen)
    plan = _make_plan(row, corpus, stills, reads, files, seed, epochs, limit, chosen, data, ranks)
    output.mkdir(parents=True, exist_ok=True)

    def after_epoch(state: TrainingState) -> None:
        if not ranks.first:
            return
        write_curves(files, state.curves)
        figures = {name: value for name, value in state.curves[-1].items() if name not in ("epoch", "stage")}
        report(Progress(len(state.curves), plan.epochs, figures))

    state = fit(built, plan, lambda judged: _figures(probabilities_of(judged, corpus.choose, plan), corpus.choose), after_epoch)
    read_best(built, plan)
    tested = corpus.test or corpus.choose
    answers = probabilities_of(built, tested, plan)
    card = _make_card(row, kind, corpus, answers, tested, state, plan, data, chosen, limit)
    ranks.wait()  # all have read the best weights
    if ranks.first:
        if chosen.lora:
            merge_lora(built)
        save_trained(files.weights, built, row, kind, labels, settings, reads)
        card.write(files.card)
        for file in (files.resume, files.best):
            file.unlink(missing_ok=True)
    return card


def network_settings(row: NetworkRow, labels: Sequence[str], kind: Kind, options: FaceTrainingOptions) -> dict[str, object]:
    """What the network is built with: the row's settings, the caller's, and what makes it answer these labels."""
    prompts = {"prompts": dict(options.prompts)} if options.prompts else {}
    own = class_settings(row, labels, kind) | (class_settings(row, labels, "static") if options.stills else {})
    return {**row.settings, **(options.settings or {}), **own, **prompts}


def with_context_length(row: NetworkRow, corpus: FaceCorpus, options: FaceTrainingOptions) -> FaceTrainingOptions:
    """The options with the length of the corpus's contexts as a setting, for a network that takes one; as they are otherwise.

    InputError when the caller's own setting is another length.
    """
    paths = [sample.context for sample in corpus.samples if sample.context]
    if "context" not in row.needs or not paths:
        return options
    own, length = dict(options.settings or {}), len(read_context(paths[0]))
    if own.get("context", length) != length:
        raise InputError(f"{paths[0]} is a context of {length} numbers; the settings say {own['context']}.")
    return replace(options, settings={**own, "context": length})


def _read_stills(
    row: NetworkRow, kind: Kind, labels: Sequence[str], seed: int, options: FaceTrainingOptions
) -> tuple[FaceSample, ...]:
    """The images to be trained on along with clips: all but the test part of their manifest, with the labels of the clips."""
    if options.stills is None:
        return ()
    if kind != "dynamic" or row.kind != "both":
        both = [one.name for one in network_table().networks.values() if one.kind == "both"]
        raise InputError(f"Stills go along with clips into a dynamic face that answers both; use one of {', '.join(both)}.")
    corpus = read_face_corpus(options.stills, labels, seed=seed)
    return (*corpus.fit, *corpus.choose)


def network_input(row: NetworkRow, kind: Kind, options: FaceTrainingOptions) -> NetworkInput:
    """What the network reads in this branch; InputError where that is no images."""
    reads = replace(row.input, **(options.reads or {}))
    if reads.features:
        raise InputError(f"The network {row.name} reads features instead of pictures; a manifest of faces has none.")
    return without_time(reads) if kind == "static" else reads


def new_network(row: NetworkRow, settings: Mapping[str, object], options: FaceTrainingOptions, seed: int) -> FaceNetwork:
    """The network before its first step, on its device."""
    torch.manual_seed(seed)
    try:
        network = build_network(row, settings)
    except (TypeError, ValueError) as error:
        raise InputError(f"The network {row.name} cannot be built for this training ({error}).") from error
    assert isinstance(network, FaceNetwork)
    if isinstance(network, ClipFaceNetwork):
        if options.clip is None and options.start is None:
            raise InputError(f"The network {row.name} starts from the weights of a CLIP; give them with --clip, or --start.")
        if options.clip is not None:
            network.take_clip(read_state_dict(options.clip))
    if options.start is not None:
        take_start(network, options.start)
    if options.lora:
        add_lora(network, options.lora)
    return network.to(options.device)


def take_start(network: FaceNetwork, path: Path) -> int:
    """Load what fits of a checkpoint, by name and shape; returns how many tensors. WeightsError when none does."""
    state = network.state_dict()
    given = network.adapted({re.sub(r"^network\.", "", key): value for key, value in read_state_dict(path).items()})
    fitting = {key: value for key, value in given.items() if key in state and state[key].shape == value.shape}
    if not fitting:
        raise WeightsError(f"{path} has no tensor of this network; give a checkpoint of it or of its backbone.")
    network.load_state_dict(fitting, strict=False)
    return len(fitting)


def _make_plan(
    row: NetworkRow, corpus: FaceCorpus, stills: Sequence[FaceSample], reads: NetworkInput, files: Files, seed: int,
    epochs: int | None, limit: int | None, options: FaceTrainingOptions, data: Path, ranks: Ranks,
) -> TrainingPlan:  # fmt: skip
    changes = {**(options.recipe or {}), **({} if epochs is None else {"epochs": epochs})}
    recipes = recipes_of(row.name, changes)
    streams = options.streams and "landmarks" in row.needs
    given = any(sample.context for sample in corpus.samples) and "context" in row.needs
    context = int(str((options.settings or {}).get("context", 0))) if given else 0
    maker = BatchMaker(row, reads, len(corpus.labels), streams, "caption" in row.needs, options.device, context)
    cpu = options.device == "cpu" and options.precision == "auto"
    dtype = torch.float32 if cpu else precision_of(options.device, options.precision)
    about = {
        "network": row.name, "manifest": file_digest(data), "seed": seed, "limit": limit or 0, "labels": list(corpus.labels),
        "recipes": json.dumps([asdict(one) for one in recipes]), "input": json.dumps(asdict(reads)), "dtype": str(dtype),
        "options": json.dumps([options.fold, options.streams, options.lora, options.settings, options.prompts], default=str),
        "starts": [digest(options.clip), digest(options.start)], "device": options.device.partition(":")[0],
        "ranks": ranks.count, "stills": digest(options.stills),
    }  # fmt: skip
    added = AddedStills(stills, replace(maker, reads=without_time(reads))) if stills else None
    every = max(options.save_every, 1)
    return TrainingPlan(corpus.fit, recipes, maker, seed, dtype, every, files.resume, files.best, about, ranks, added)


# ---- figures -------------------------------------------------------------------------------------------------------------


def probabilities_of(
    network: FaceNetwork, samples: Sequence[FaceSample], plan: TrainingPlan, batch: int = BATCH
) -> NDArray[np.float32]:
    """Probabilities [N, C] of samples, the mean over their views; nothing random."""
    network.eval()
    maker, answers = plan.maker, list[NDArray[np.float32]]()
    own = plan.ranks.share(range(len(samples)))
    batches = [list(own[start : start + batch]) for start in range(0, len(own), batch)]
    for numbers, views in zip(batches, views_in_order(samples, batches, maker.reads, None), strict=True):
        drawn = maker.drawn([samples[number] for number in numbers], views)
        with torch.no_grad(), torch.autocast(maker.device.partition(":")[0], plan.dtype, enabled=plan.dtype != torch.float32):
            logits = network.answer(maker.normalised(maker.inputs(drawn))).logits
        answers += list(logits.float().softmax(1).view(len(numbers), -1, maker.classes).mean(1).cpu().numpy())
    return np.stack(plan.ranks.gather(answers, len(samples)))


def _figures(probabilities: NDArray[np.float32], samples: Sequence[FaceSample]) -> dict[str, float]:
    """UAR (mean recall of the classes that occur), WAR (accuracy), macro-F1, weighted F1, calibration error."""
    truth = np.array([sample.label for sample in samples])
    counts = np.zeros((probabilities.shape[1], probabilities.shape[1]))
    np.add.at(counts, (truth, probabilities.argmax(1)), 1)
    return scores_of_counts(counts) | {"calibration_error": calibration_error(probabilities, truth)}


def write_curves(files: Files, curves: Sequence[Mapping[str, float]]) -> None:
    """The figures of all epochs, a row each, as CSV and as JSON."""
    names = list(dict.fromkeys(name for row in curves for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(curves)
    write_text(files.curves, text.getvalue())
    write_text(files.curves_json, json.dumps(list(curves), indent=1) + "\n")


def _make_card(
    row: NetworkRow, kind: Kind, corpus: FaceCorpus, answers: NDArray[np.float32], tested: Sequence[FaceSample],
    state: TrainingState, plan: TrainingPlan, data: Path, options: FaceTrainingOptions, limit: int | None,
) -> Card:  # fmt: skip
    truth = np.array([sample.label for sample in tested])
    recall = per_class_recall(truth, answers.argmax(1), len(corpus.labels))
    what = "test part" if corpus.test else "validation part, which also chose the weights (there is no test part)"
    return Card(
        name=f"{kind}-{row.name}", terms=f"those of {_sources(data, options)}", seed=plan.seed,
        data=f"{data.name}: {len(corpus.fit)} samples to fit on, {len(corpus.choose)} to choose on, {len(corpus.test)} to test"
        + (f"; with {len(plan.stills.samples)} stills of {options.stills.name}" if plan.stills and options.stills else ""),
        command=_command(row, kind, data, plan, options, limit), date=date.today().isoformat(),
        split=f"figures: {what}, {len(tested)} samples",
        metrics={key: round(value, 4) for key, value in _figures(answers, tested).items()},
        per_class_recall={name: round(float(v), 4) for name, v in zip(corpus.labels, recall, strict=True) if v == v},
        corpora=[corpus_of("", data.stem)], text=_describe_training(row, corpus, state, plan),
    )  # fmt: skip


def _sources(data: Path, options: FaceTrainingOptions) -> str:
    """Whose terms bind the weights: the corpora, and the weights that it started from."""
    started = [one.name for one in (options.clip, options.start) if one]
    corpora = [one.name for one in (data, options.stills) if one]
    return ", ".join(corpora) + (f", and of the weights it started from: {', '.join(started)}" if started else "")


def _command(
    row: NetworkRow, kind: Kind, data: Path, plan: TrainingPlan, options: FaceTrainingOptions, limit: int | None
) -> str:
    """The command that trains the same again; texts, recipe and settings of the network are whole in the options' files."""
    fold = "" if options.fold is None else str(options.fold)
    return command_line(
        f"{kind}-face", network=row.name, corpus=data, root=options.root, epochs=plan.epochs, seed=plan.seed, fold=fold,
        limit=limit, labels=options.labels, clip=options.clip, start=options.start, lora=options.lora, with_stills=options.stills,
    )  # fmt: skip


def _describe_training(row: NetworkRow, corpus: FaceCorpus, state: TrainingState, plan: TrainingPlan) -> str:
    best = max(state.curves, key=lambda one: one["uar"] + one["war"])
    notes = list(corpus.notes)
    if "context" in row.needs:
        count = sum(bool(sample.context) for sample in corpus.samples)
        seen = f"{count} of {len(corpus.samples)} samples have a context."
        notes.append(seen if count else "It was trained without a context, by the faces alone.")
    listed = "\n".join(f"* {note}" for note in notes)
    return f"""# {row.title}

{row.paper}. Trained by Dyad for {plan.epochs} epochs; the weights are those of epoch {best['epoch']:.0f}, which had the best mean
of UAR ({best['uar']:.4f}) and WAR ({best['war']:.4f}) on the validation part, a part of the training set where the corpus has
none of its own. The releases of S4D, IFDD, CLIPER and DFER-CLIP choose the epoch on the test part, so that their published
figures are the best on test; figures of this card are lower by what that choice is worth. UAR is the mean recall of the classes
that occur, WAR the accuracy. Labels: {', '.join(corpus.labels)}.

{listed}"""
