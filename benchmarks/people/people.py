"""Who speaks when, against dialogues whose truth is known.

    ./dyad benchmark people --data ../shared/datasets [--dialogues 8] [--choose] [--splits] [--faces] [--lips] [--links]
                            [--cost] [--memory 15 60]

Dialogues are joined from sentences of actors: two to four of them, in all emotions, with pauses, overlaps and noise. Thresholds
were chosen (--choose prints what others give) on actors that no figure here is of. Trivial: all is one person's.
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.common import header, make_parser, print_table
from benchmarks.people.cost import cost_rows
from benchmarks.people.errors import SpeakerErrors, added, speaker_errors
from benchmarks.people.links import link_rows
from benchmarks.people.lips import lip_rows, own_rows
from benchmarks.people.long_film import memory_rows
from benchmarks.people.near_far import near_far_rows
from benchmarks.people.side_by_side import side_rows
from benchmarks.people.splits import CALL, split_rows
from benchmarks.people.voices import KNOWN, NEMO, RAVDESS, UNSEEN, Dialogue, make_dialogue
from modalities.people.recognise import Recogniser, cut_speech, diarise, embed_speech, load
from modalities.people.turns import Turn, group_voices, turns_of
from modalities.speech.detect import SAMPLE_RATE, find_speech, read_blocks

TRIED = (0.68, 0.72, 0.76, 0.8, 0.84)


def dialogues(data: Path, model: Recogniser, actors: Sequence[str], persons: int, count: int, seed: int) -> Iterator[Dialogue]:
    """`count` dialogues of as many actors each."""
    rng = np.random.default_rng([seed, persons])
    for _ in range(count):
        yield make_dialogue(data, list(rng.choice(list(actors), persons, replace=False)), model.detector, rng)


def in_file(dialogue: Dialogue, folder: str) -> Path:
    """The dialogue's sound as a file."""
    path = Path(folder) / "dialogue.wav"
    soundfile.write(path, dialogue.wave, SAMPLE_RATE, subtype="PCM_16")
    return path


def of_one(turns: Sequence[Turn]) -> list[Turn]:
    """The trivial answer: whatever is said, one person says it."""
    return [Turn(turn.start, turn.end, "1") for turn in turns]


def voice_rows(data: Path, model: Recogniser, count: int) -> Iterator[tuple[object, ...]]:
    for name, actors in UNSEEN.items():
        for persons in (1, 2, 3, 4):
            if persons > len(actors):
                continue
            errors: dict[str, list[SpeakerErrors]] = {"free": [], "given": [], "one": []}
            found = []
            for dialogue in dialogues(data, model, actors, persons, count, seed=1):
                with tempfile.TemporaryDirectory() as folder:
                    audio = in_file(dialogue, folder)
                    free, given = diarise(model, audio), diarise(model, audio, persons)
                found.append(len({turn.speaker for turn in free}))
                for key, answer in (("free", free), ("given", given), ("one", of_one(free))):
                    errors[key].append(speaker_errors(dialogue.turns, answer))
            rates = [f"{100 * added(errors[key]).rate:.1f}" for key in errors]
            minutes = added(errors["free"]).total / 60
            yield (name, persons, f"{count} ({minutes:.1f} min)", *rates, f"{np.mean(np.array(found) == persons) * 100:.0f}")


def chosen_rows(data: Path, model: Recogniser, count: int) -> Iterator[tuple[object, ...]]:
    """Error rates of the actors that the threshold is chosen on, by threshold."""
    for name, actors in (("RAVDESS, English", RAVDESS[:8]), ("nEMO, Polish", NEMO[:2])):
        errors: dict[float, list[SpeakerErrors]] = {apart: [] for apart in TRIED}
        assert set(actors) <= set(KNOWN)
        for persons in range(1, min(4, len(actors)) + 1):
            for dialogue in dialogues(data, model, actors, persons, count, seed=2):
                with tempfile.TemporaryDirectory() as folder:
                    audio = in_file(dialogue, folder)
                    segments = find_speech(model.detector, read_blocks(audio))
                    spans = cut_speech(segments)
                    voices = embed_speech(model, audio, spans)
                windows = np.array(spans) / SAMPLE_RATE
                for apart, kept in errors.items():
                    kept.append(speaker_errors(dialogue.turns, turns_of(segments, windows, voices, group_voices(voices, apart))))
        yield (name, *(f"{100 * added(kept).rate:.1f}" for kept in errors.values()))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, "audio/ravdess_speech and audio/nemo")
    parser.add_argument("--dialogues", type=int, default=8, help="of each number of persons")
    parser.add_argument("--choose", action="store_true", help="print what other thresholds give on the actors they are chosen on")
    parser.add_argument("--splits", action="store_true", help="what rules would say whether one speaks or two")
    parser.add_argument("--faces", action="store_true", help="whether voices go to whose face speaks, and faces are known again")
    parser.add_argument("--lips", action="store_true", help="whether mouths are told from those that a sound does not fit")
    parser.add_argument("--cost", action="store_true", help="what telling persons apart costs in a minute of one person")
    parser.add_argument("--links", action="store_true", help="whether a voice of one clip is known again in another")
    parser.add_argument("--memory", type=float, nargs="+", metavar="MINUTES", help="memory of films of twenty persons, so long")
    options = parser.parse_args(arguments)
    print(header())
    if options.memory:
        heads = ["words", "minutes", "persons", "seconds", "peak MB", "to the first"]
        print_table(heads, memory_rows(options.data, options.memory))
        return 0
    if options.cost:
        heads = ["words", "all other stages, s of processor", "people and voices", "more %"]
        print_table(heads, cost_rows())
        return 0
    if options.faces:
        heads = ["films", "number (speech)", "to the face that speaks %", "a wrong face %", "nobody seen %", "persons seen"]
        print_table(heads, side_rows(options.data))
        heads = ["width of the far faces, pixels", "tracks", "precision %", "recall %", "F1 %", "F1 %, all one person"]
        print_table(heads, near_far_rows(options.data))
        return 0
    if options.lips:
        heads = ["clips joined", "seconds", "own sound: least", "own: does not fit %", "shifted %", "another's %",
                 "own and a song %", "unsure of it %"]  # fmt: skip
        print_table(heads, lip_rows(options.data))
        print_table(["clip, its own sound", "seconds", "lip_sync", "said"], own_rows(options.data))
        return 0
    model = load()
    if options.links:
        heads = ["actors", "moods in a clip", "seconds of speech", "clips", "two linked %", "one not linked %"]
        print_table(heads, link_rows(options.data, model))
        return 0
    if options.splits:
        of_set = ["DER %", "one cut in two %", "two found %"]
        heads = ["rule", *(f"{name}: {head}" for name in ("RAVDESS", "nEMO") for head in of_set), CALL, "actors more like two %"]
        print_table(heads, split_rows(options.data, model, options.dialogues))
        return 0
    if options.choose:
        print_table(["chosen on", *map(str, TRIED)], chosen_rows(options.data, model, options.dialogues))
        return 0
    heads = ["unseen actors", "persons", "dialogues", "DER %", "number given", "all one person", "number right %"]
    print_table(heads, voice_rows(options.data, model, options.dialogues))
    return 0


if __name__ == "__main__":
    sys.exit(main())
