"""Write what the still face's answers are like over many people, and measure what judging by a person's own is worth.

    ./dyad benchmark derive_face_reference --data ../shared/datasets [--output modalities/weights/static_face_reference.yaml]

The reference: answers to FER+'s validation stills. Nobody there is known by name. So the table is of our own network on people
made of those stills (home, held out): a neutral still, and sequences that lead from it to stills of each emotion that look like
it, before a shaky camera; what is usual of such a person is the neutral still's. And of other people's networks: two face models
on RAVDESS and two on AFEW's film clips, each at home with people that it never saw; in AFEW a stretch of a film stands for the
person. Persons are cut into smaller ones of a few clips (`4 clips`) or of so many emotions (`2 moods`), three times at random: of
a person who shows one thing nothing may be taken away. UAR %.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import yaml

from benchmarks.common import header, make_parser, print_table
from benchmarks.quality.fusion_ways import film_table
from data.emotions import BASIC_EMOTIONS
from data.files import write_text
from data.metrics import scores_of
from fusion.arrays import Integers
from fusion.tables.long_table import LongTable, read_long_table
from modalities.reference import OPEN, WITHIN, Floats, Gate, Reference, moments_of, shrunk
from modalities.static_face.relative import FILE, SHARE, logs_of

SHARES = (0.3, 0.5, SHARE, 1.0)
HEADS = ("model", "persons", "n", "as it is", *(f"share {share}" for share in SHARES), f"share {SHARE}, whatever it shows")
DRAWS = 3
PEOPLE, TIMES = 100, 2
"""People made of stills, and how many sequences of each emotion they show."""
RISE = np.array([0.3, 0.6, 0.9, 1.0])
"""How far an expression has come in the frames of a sequence."""
MADE_GROUPS = ("all", "4 clips", "3 moods", "1 mood")
GROUPS = ("all", "10 clips", "4 clips", "4 moods", "3 moods", "2 moods", "1 mood")


def usual_answers(data: Path) -> dict[str, object]:
    """The content of the reference's file."""
    from modalities.static_face import embedded as static_face
    from modalities.training.faces.stills import read_faces

    stills = read_faces(data / "face" / "ferplus_valid.npz")
    logs = logs_of(static_face.score_images(static_face.load(), stills.images))
    mean = dict(zip(BASIC_EMOTIONS, np.round(logs.mean(0).astype(float), 3).tolist(), strict=True))
    return {"mean": mean, "spread": round(moments_of(logs, logs).spread, 3)}


def people_of_stills(data: Path) -> tuple[Floats, Integers, np.ndarray]:
    """Of sequences: logarithms of the still face's mean answer [N, 7], the emotion that they lead to [N], and whose they are."""
    import torch

    from modalities.static_face import embedded as static_face
    from modalities.training.faces.pseudo_sequences import NEUTRAL, film, morph, prepare, similar
    from modalities.training.faces.stills import read_faces

    stills, chance = prepare(read_faces(data / "face" / "ferplus_valid.npz")), np.random.default_rng(7)
    images, frames, truth, persons = stills.faces.images, list[np.ndarray](), list[int](), list[str]()
    for person in range(PEOPLE):
        calm = int(chance.choice(stills.members[NEUTRAL]))
        for label in TIMES * list(range(len(BASIC_EMOTIONS))):
            apex = similar(stills, calm, label, chance)
            camera = torch.Generator().manual_seed(int(chance.integers(2**62)))
            frames.append(film(morph(images[calm], images[apex], RISE), camera))
            truth.append(label)
            persons.append(f"made of {calm}, {person}")
    answers = static_face.score_images(static_face.load(), np.concatenate(frames))
    return logs_of(answers.reshape(len(truth), len(RISE), -1).mean(1)), np.array(truth), np.array(persons)


def measured(data: Path) -> Iterator[list[object]]:
    made = people_of_stills(data)
    for kind in MADE_GROUPS:
        yield _figures("sequences of stills, static face", kind, *made)
    ravdess = read_long_table(data / "fusion" / "ravdess_posteriors_folds0-2.csv")
    ravdess = ravdess.rows(ravdess.splits == "test")
    actors = np.array([clip.split("-")[-1] for clip in ravdess.clips])
    for model in ("face_au_mlp", "face_au_bilstm"):
        for kind in GROUPS:
            yield _row(f"RAVDESS, {model}", kind, ravdess, model, actors)
    films = film_table(data, ("face_convnet", "face_svm"))
    scenes = np.array([clip[:5] for clip in films.groups])
    for model in films.models:
        yield _row(f"AFEW, {model}", "all", films, model, scenes)


def _row(name: str, kind: str, table: LongTable, model: str, persons: np.ndarray) -> list[object]:
    column = table.models.index(model)
    there = table.present[:, column]
    return _figures(name, kind, logs_of(table.probabilities[there, column]), table.labels[there], persons[there])


def _figures(name: str, kind: str, logs: Floats, truth: Integers, persons: np.ndarray) -> list[object]:
    cut = [cut_persons(persons, truth, kind, seed) for seed in range(DRAWS if kind != "all" else 1)]

    def reached(share: float, gate: Gate) -> str:
        return f"{np.mean([uar(truth, relative(logs, groups, share, gate)) for groups in cut]):.1f}"

    gated = (reached(share, WITHIN) for share in SHARES)
    return [name, kind, len(truth), f"{uar(truth, logs):.1f}", *gated, reached(SHARE, OPEN)]


def cut_persons(persons: np.ndarray, truth: Integers, kind: str, seed: int) -> np.ndarray:
    """Persons [N] cut into smaller ones, as the name of a row says."""
    if kind == "all":
        return persons
    chance = np.random.default_rng(seed)
    count, found = int(kind.split()[0]), np.empty(len(persons), object)
    for person in np.unique(persons):
        rows = np.flatnonzero(persons == person)
        if kind.endswith("clips"):
            part = chance.permutation(len(rows)) // count
        else:
            part = chance.permutation(truth.max() + 1)[truth[rows]] // count
        found[rows] = [f"{person}/{number}" for number in part]
    return found.astype(str)


def relative(logs: Floats, persons: np.ndarray, share: float, gate: Gate) -> Floats:
    """Logarithms [N, C] less a share of what each person has beyond everybody's mean."""
    nothing, one = np.zeros(logs.shape[1], np.float32), np.ones(logs.shape[1], np.float32)
    everybody = shrunk(moments_of(logs, logs), Reference(nothing, one, 1.0), OPEN)
    changed = logs.copy()
    for person in np.unique(persons):
        own = persons == person
        changed[own] -= share * (shrunk(moments_of(logs[own], logs[own]), everybody, gate).mean - everybody.mean)
    return changed


def uar(truth: Integers, logs: Floats) -> float:
    return 100 * scores_of(truth, logs.argmax(1), range(logs.shape[1]))["uar"]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, "face/ and fusion/")
    parser.add_argument("--output", type=Path, default=FILE)
    options = parser.parse_args(arguments)
    command = "# ./dyad benchmark derive_face_reference --data ../shared/datasets\n"
    write_text(options.output, command + yaml.safe_dump(usual_answers(options.data), sort_keys=False))
    print(f"{header()}\n{options.output}\n")
    print_table(HEADS, measured(options.data))
    return 0


if __name__ == "__main__":
    sys.exit(main())
