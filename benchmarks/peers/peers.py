"""Dyad beside what others publish in packages with weights: faces, their expressions (with quality), words.

    ./dyad models download mobilenet-vggface2        # the archive that holds human's networks, too
    ./dyad benchmark peers --data ../shared/datasets --environment ~/dyad-peers

The peers get an environment of their own (1.9 GB, made once, pinned with hashes in requirements.lock beside this file). Seconds
are of the processor, on one thread, models loaded. The three expression networks and the weights that Dyad ships learned
FER2013's training part, so its validation part is home for all; the peers learned FER2013's labels, Dyad those of FER+.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import header, make_parser, print_table
from benchmarks.faces import sampled
from benchmarks.long_clip import make_long_clip
from benchmarks.words import write_speech
from configs.settings import load_settings
from data.emotions import BASIC_EMOTIONS
from data.media.frames import Frame
from data.metrics import scores_of
from flows.backends.transcript import WHISPER
from modalities.faces.detectors import choose_detector, quiet_stderr
from modalities.faces.find import FaceOptions, find_faces
from modalities.static_face import embedded as static_face
from modalities.training.faces.start import archive_path
from modalities.training.faces.stills import read_faces
from modalities.transcript.hear import hear_words
from modalities.transcript.word_errors import plain_words, word_errors

HERE = Path(__file__).parent
FER2013 = {"angry": "anger", "happy": "happiness", "sad": "sadness"}
"""FER2013's names of emotions where they are not Dyad's."""
PEERS_ORDER = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
"""The order in which both networks, from oarriaga/face_classification, answer."""
SECONDS = 20
"""Of film whose images are looked at."""


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds of this process's processor that a call takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


# ---- the peers' environment ----------------------------------------------------------------------------------------------


def python_of(folder: Path) -> Path:
    """The Python of the peers' environment, which is made where it is not there or not whole."""
    python, done = folder / "bin" / "python", folder / "installed"
    lock = HERE / "requirements.lock"
    if not done.is_file() or done.read_text() != lock.read_text():
        venv.create(folder, with_pip=True)
        install = [str(python), "-m", "pip", "install", "-q", "--require-hashes", "--no-deps", "-r", str(lock)]
        subprocess.run(install, check=True)
        done.write_text(lock.read_text())
    return python


def answer(python: Path, what: str, *given: Path) -> dict[str, Any]:
    """What the peers say, by `answers.py` in their environment, on one thread."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
    command = [str(python), str(HERE / "answers.py"), what, *map(str, given)]
    # Nothing of this process's own modules, and no messages of TensorFlow's.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | one | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{what}: the peers' environment fails ({done.stderr.strip().splitlines()[-1]}); remove it to make it anew.")
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


# ---- the tables ----------------------------------------------------------------------------------------------------------


def expressions(data: Path, python: Path, folder: Path) -> Iterator[list[object]]:
    """Networks that tell the expression of a cropped face, on FER2013's validation part, seven classes."""
    path = data / "face" / "ferplus_valid.npz"
    faces = read_faces(path)
    with np.load(path, allow_pickle=False) as file:
        named = [FER2013.get(name, name) for name in file["fer2013_label"].tolist()]
    fer2013 = np.array([BASIC_EMOTIONS.index(name) for name in named])
    np.save(folder / "faces.npy", faces.images)
    took = answer(python, "expressions", folder / "faces.npy", archive_path(), folder)
    order = [PEERS_ORDER.index(name) for name in BASIC_EMOTIONS]
    model, told = static_face.load(), list[NDArray[np.float32]]()
    static_face.score_images(model, faces.images[:8])
    took["dyad"] = seconds_of(lambda: told.append(static_face.score_images(model, faces.images)))
    names = {"fer": "fer 25.10.3", "human": "@vladmandic/human 3.3.6", "dyad": f"Dyad, static face {model.source.revision}"}
    for key, name in names.items():
        chosen = (told[0] if key == "dyad" else np.load(folder / f"{key}.npy")[:, order]).argmax(1)
        majority, agreed = (faces.majority >= 0) & (faces.majority < len(BASIC_EMOTIONS)), faces.agreed
        figures = [
            f"{100 * scores_of(truth[rows], chosen[rows], range(len(BASIC_EMOTIONS)))[metric]:.1f}"
            for truth, rows in ((faces.majority, majority), (faces.majority, agreed), (fer2013, np.full(len(fer2013), True)))
            for metric in ("war", "uar")
        ]
        yield [name, 1000 * took[key] / len(chosen), *figures]


def images(python: Path, folder: Path) -> Iterator[list[object]]:
    """Ways to find the faces of images and what they show: one face that talks, at the size and rate that a run looks at."""
    frames = sampled(make_long_clip(folder / "film.mp4", SECONDS), folder)
    np.save(folder / "images.npy", np.stack([frame.rgb for frame in frames]))
    took = answer(python, "images", folder / "images.npy")
    yield ["fer 25.10.3: Haar cascade, its network", 1000 * took["seconds"] / len(frames), took["with a face"]]
    yield ["MediaPipe alone: a mesh followed from image to image", *mesh_alone(frames)]
    options, model = FaceOptions(choose_detector("auto").name, 112), static_face.load()
    find_faces(frames[:2], options, folder / "crops.npy")
    found: list[int] = []

    def faces() -> None:
        table = find_faces(frames, options, folder / "crops.npy").table
        found.append(table["frame"].nunique())

    yield ["Dyad: faces followed, mesh, tracks, crops", 1000 * seconds_of(faces) / len(frames), found[0]]
    crops = np.load(folder / "crops.npy", allow_pickle=False)
    told = seconds_of(lambda: static_face.score_images(model, crops))
    yield ["Dyad: the expressions of these crops, more", 1000 * told / len(frames), len(crops)]


def mesh_alone(frames: Sequence[Frame]) -> tuple[float, int]:
    """Milliseconds an image of MediaPipe's own face mesh over a film, and in how many images it has a face."""
    with quiet_stderr():
        from mediapipe.python.solutions import face_mesh

        mesh = face_mesh.FaceMesh(static_image_mode=False, max_num_faces=1, refine_landmarks=True)
        mesh.process(frames[0].rgb)
    found: list[bool] = []
    seconds = seconds_of(lambda: found.extend(mesh.process(frame.rgb).multi_face_landmarks is not None for frame in frames))
    mesh.close()
    return 1000 * seconds / len(frames), sum(found)


def words(data: Path, python: Path, folder: Path) -> Iterator[list[object]]:
    """Ways to hear the words of a minute of speech with the weights of Whisper base."""
    short, minute = write_speech(data, folder)
    recogniser = WHISPER.load(load_settings())
    hear_words(recogniser, short)
    heard: list[str] = []
    ours = seconds_of(lambda: heard.append(" ".join(hear_words(recogniser, minute).cues["text"])))
    peer = answer(python, "words", short, minute)
    yield ["faster-whisper 1.2.1, int8, greedy", peer["seconds"], len(plain_words(peer["text"])), ""]
    differ = word_errors(plain_words(peer["text"]), plain_words(heard[0]))
    yield [f"Dyad, {recogniser.source.model}", ours, len(plain_words(heard[0])), differ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables."""
    import torch

    parser = make_parser(__doc__, "face/ and media/")
    parser.add_argument("--environment", type=Path, required=True, metavar="FOLDER", help="where the peers' packages are or go")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    python = python_of(options.environment)
    print(header(), end="\n\n")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        labels = ("FER+ majority", "FER+ most agree", "FER2013")
        figures = [f"{label}, {metric}" for label in labels for metric in ("accuracy", "UAR")]
        print_table(["expression of a cropped face", "ms a face", *figures], expressions(options.data, python, folder))
        print_table(["images of a film, one face", "ms an image", "with a face"], images(python, folder))
        heads = ["words of a minute", "seconds", "words", "words that differ from the peer's"]
        print_table(heads, words(options.data, python, folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
