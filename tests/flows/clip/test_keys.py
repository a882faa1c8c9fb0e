"""What is skipped is the same: a stage's key changes with every file that its code can reach, and with no other."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from configs.settings import load_settings
from data.media.clip import Clip
from data.run_folder import RunFolder
from flows.backends import MODULES
from flows.clip.graph import before, in_order
from flows.clip.keys import stage_keys
from flows.clip.stages import STAGES
from flows.job import Brought, Job
from flows.runtime import code_digest
from flows.runtime.code_digest import OUTSIDE, PACKAGES, ROOT, SourceTree
from tests.tiny_voice import save_layer, save_whisper

OWN = ("decode", "faces", "people", "transcript", "fuse", "compose", "publish")
HEARD = ("speech", "voices")
STEPS = {stage: f"flows.clip.steps.{stage}" for stage in OWN}
ENTRIES = {stage: [STEPS[stage]] if stage in STEPS else ["flows.clip.steps.modality", MODULES[stage]] for stage in STAGES
           if stage not in HEARD} | dict.fromkeys(HEARD, ["flows.clip.steps.speech", MODULES["voice"]])  # fmt: skip
"""What each stage runs, with the settings of the embedded profile."""
CHOOSE_BY_NAME = {"flows/backends/__init__.py", "flows/backends/added.py", "modalities/face_networks/registry.py"}
"""Modules that import by a name that no reader of sources can see: what they choose among are entries of the stages."""


def a_job(folder: Path, **settings: dict[str, object]) -> Job:
    return Job(Clip(folder / "clip.mp4", "clip", "content", 4.0), RunFolder(folder / "run"), load_settings(overrides=settings))


class Sources:
    """Another, simple reader of the sources: imports by their text, data files by their names' being in quotes."""

    def __init__(self, root: Path) -> None:
        files = [path for package in PACKAGES for path in (root / package).rglob("*") if path.is_file()]
        files = [path for path in files if "__pycache__" not in path.parts]
        self.files = {path.relative_to(root).as_posix(): path for path in files}
        self.modules = {self.module_of(file): file for file in self.files if file.endswith(".py")}
        self.edges = {file: set(self._edges(file)) for file in self.modules.values()}

    @staticmethod
    def module_of(file: str) -> str:
        return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def _edges(self, file: str) -> Iterable[str]:
        text = self.files[file].read_text()
        text = re.sub(r"^if TYPE_CHECKING:\n(?:(?: +.*)?\n)+", "", text, flags=re.M)
        for module in re.findall(r"^ *import ([\w.]+)", text, re.M):
            yield from self.run_by(module)
        for module, several, one in re.findall(r"^ *from ([\w.]+) import (?:\(([^)]*)\)|(.*))", text, re.M):
            for name in re.findall(r"(\w+)(?: as \w+)?", re.sub(r"#.*", "", several or one)):
                yield from self.run_by(f"{module}.{name}")
        data = {other for other in self.files if not other.endswith(".py") and f'"{Path(other).name}"' in text}
        beside = {other for other in data if other.startswith(f"{Path(file).parent.as_posix()}/")}
        package = file.split("/")[0]
        if package != "configs":
            yield from beside or {other for other in data if other.startswith(f"{package}/")}

    def run_by(self, module: str) -> Iterable[str]:
        """The files that an import runs: packages, then the module."""
        while module:
            if module in self.modules and not module.startswith(OUTSIDE):
                yield self.modules[module]
            module = module.rpartition(".")[0]

    def reached(self, entries: Iterable[str]) -> set[str]:
        found: set[str] = set()
        waiting = [file for entry in entries for file in self.run_by(entry)]
        while waiting:
            file = waiting.pop()
            if file not in found:
                found.add(file)
                waiting += self.edges.get(file, ())
        return found


def with_later(stages: set[str]) -> set[str]:
    """These stages and all that come after them."""
    for name in in_order():
        if stages & set(before(name)):
            stages = stages | {name}
    return stages


@pytest.fixture
def our_code(tmp_path: Path) -> Path:
    """A copy of the packages, to change."""
    large = shutil.ignore_patterns("__pycache__", "*.safetensors")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / "code" / package, ignore=large)
    for weights in (ROOT / "modalities" / "weights").glob("*.safetensors"):
        (tmp_path / "code" / "modalities" / "weights" / weights.name).write_bytes(b"weights")
    return tmp_path / "code"


@pytest.fixture
def keys_now(our_code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Job], dict[str, str]]:
    """The keys of a job's stages as a new process with the copied code would make them."""

    def keys(job: Job) -> dict[str, str]:
        tree = SourceTree(our_code, tmp_path / "cache.json")
        monkeypatch.setattr(code_digest, "sources", lambda: tree)
        return stage_keys(job)

    return keys


def changed(old: dict[str, str], new: dict[str, str]) -> set[str]:
    return {stage for stage in old if old[stage] != new[stage]}


@pytest.mark.slow
def test_a_changed_file_changes_the_keys_of_the_stages_that_can_reach_it_and_no_other(
    our_code: Path, keys_now: Callable[[Job], dict[str, str]], tmp_path: Path
) -> None:
    sources, job = Sources(our_code), a_job(tmp_path)
    reach = {stage: sources.reached(entries) for stage, entries in ENTRIES.items()}
    expected = {file: with_later({stage for stage, files in reach.items() if file in files}) for file in sources.files}
    reaching = [file for file in expected if expected[file]]
    assert len(reaching) > 100
    before, wrong = keys_now(job), []
    for files in ([file for file in expected if not expected[file]], *([file] for file in reaching)):
        contents = {file: sources.files[file].read_bytes() for file in files}
        for file, content in contents.items():
            sources.files[file].write_bytes(content + b"\n# changed\n")
        found = changed(before, keys_now(job))
        for file, content in contents.items():
            sources.files[file].write_bytes(content)
        if found != expected[files[0]]:
            wrong.append(f"{', '.join(files)} change {sorted(found)}, not {sorted(expected[files[0]])}")
    assert not wrong, "\n".join(wrong)
    assert keys_now(job) == before


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("modalities/voice/whisper_states.py", {*HEARD, "voice", "transcript"}),
        ("data/windows.py", set(STAGES)),
        ("data/emotions.py", set(STAGES)),
        ("modalities/loading/checkpoint.py",
         {"people", "static_face", "dynamic_face", "scene_context", *HEARD, "voice", "text"}),
        ("modalities/speech/log_mel.py", {*HEARD, "voice", "transcript"}),
        ("modalities/label_maps.yaml", {"static_face", "dynamic_face", "scene_context", *HEARD, "voice", "text"}),
        ("modalities/scene_context/chunked_attention.py", {"scene_context"}),
        ("reports/page/page.css", {"publish"}),
        ("reports/dataset/page.css", set[str]()),
        ("flows/cli/app.py", set[str]()),
        ("flows/runtime/events.py", set[str]()),
    ],
)
def test_files_whose_change_was_once_overlooked(
    file: str, stages: set[str], our_code: Path, keys_now: Callable[[Job], dict[str, str]], tmp_path: Path
) -> None:
    before = keys_now(a_job(tmp_path))
    with (our_code / file).open("a") as stream:
        stream.write("\n")
    assert changed(before, keys_now(a_job(tmp_path))) == with_later(stages)


@pytest.mark.parametrize("kind", ["static_face", "dynamic_face"])
def test_a_network_that_settings_name_is_code_of_its_stage(
    kind: str, our_code: Path, keys_now: Callable[[Job], dict[str, str]], tmp_path: Path
) -> None:
    """`networks.yaml` says its module; other networks of the table are none of the stage's business."""
    papers = our_code / "modalities" / "face_networks" / "papers"
    job = a_job(tmp_path, **{kind: {"backend": "network", "network": "s4d"}})
    before = keys_now(job)
    (papers / "fineclip.py").write_text("# changed")
    assert changed(before, keys_now(job)) == set()
    (papers / "s4d.py").write_text("# changed")
    assert changed(before, keys_now(job)) == with_later({kind})


def test_the_composition_that_asks_backends_depends_on_their_code(
    our_code: Path, keys_now: Callable[[Job], dict[str, str]], tmp_path: Path
) -> None:
    states = our_code / "modalities" / "voice" / "whisper_states.py"
    pfsa, learned = a_job(tmp_path, fusion={"composition": "pfsa"}), a_job(tmp_path)
    old, told = keys_now(pfsa), SourceTree(our_code)
    assert states.relative_to(our_code).as_posix() in told.reached(STAGES["compose"].code(pfsa))
    assert states.relative_to(our_code).as_posix() not in told.reached(STAGES["compose"].code(learned))
    states.write_text("# changed")
    assert "compose" in changed(old, keys_now(pfsa))


def test_given_scores_need_no_backend(our_code: Path, keys_now: Callable[[Job], dict[str, str]], tmp_path: Path) -> None:
    given = tmp_path / "voice.csv"
    given.write_text("start,end\n")
    job = a_job(tmp_path)
    job = Job(job.clip, job.folder, job.settings, Brought(scores={"voice": given}))
    before = keys_now(job)
    (our_code / "modalities" / "voice" / "embedded.py").write_text("# changed")
    assert changed(before, keys_now(job)) == set()


def test_only_known_modules_import_by_a_name_that_sources_do_not_tell() -> None:
    """Whoever imports by a name elsewhere must have its stage name the choices, or their changes will be overlooked."""
    sources = Sources(ROOT)
    entries = {"flows.backends.added", *(entry for some in ENTRIES.values() for entry in some)}
    entries |= {module for module in sources.modules if module.startswith("modalities.face_networks.papers.")}
    of_ours = "|".join(PACKAGES)
    by_name = re.compile(rf"\b(import_module|__import__|spec_from_file_location)\((?!\"(?!{of_ours}))")
    texts = {file: sources.files[file].read_text() for file in sources.reached(entries) if file.endswith(".py")}
    assert {file for file, text in texts.items() if by_name.search(text)} == CHOOSE_BY_NAME


RUN_ALL = """
import json, sys
from pathlib import Path

root, folder = Path(sys.argv[1]), Path(sys.argv[2])
from configs.settings import load_settings
from data.media.probe import probe
from data.run_folder import RunFolder
from data.sample import sample_clip
from flows.clip.keys import stage_keys
from flows.clip.stages import STAGES
from flows.job import Brought, Job

opened = set()
sys.addaudithook(lambda event, about: opened.add(str(about[0])) if event == "open" else None)
brought = Brought(descriptions=sample_clip().with_name("sample_descriptions.csv"))
job = Job(probe(sample_clip()), RunFolder(folder), load_settings(), brought)
job.folder.create()
keys, used = stage_keys(job), {}
for name, stage in STAGES.items():
    known = set(sys.modules)
    opened.clear()
    job.folder.mark_done(name, keys[name], 0.0, dict(stage.run(job) or {}))
    new = [getattr(sys.modules[module], "__file__", None) or "" for module in set(sys.modules) - known]
    used[name] = [path for path in [*new, *opened] if path.startswith(f"{root}/") and "__pycache__" not in path]
print(json.dumps(used))
"""


@pytest.mark.slow
def test_nothing_that_a_real_run_imports_or_opens_is_left_out(tmp_path: Path) -> None:
    weights = save_layer(tmp_path / "voice.safetensors", save_whisper(tmp_path / "models"))
    voice = {"DYAD_MODELS": str(tmp_path / "models"), "DYAD_VOICE__WEIGHTS": str(weights)}
    environment = {**os.environ, **voice, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-P", "-c", RUN_ALL, str(ROOT), str(tmp_path / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tree, ours = SourceTree(), tuple(f"{package}/" for package in PACKAGES)
    used, brought = {}, {"data/sample/sample.mp4", "data/sample/sample.vtt", "data/sample/sample_descriptions.csv"}
    for name, paths in json.loads(done.stdout).items():
        files = {Path(path).relative_to(ROOT).as_posix() for path in paths}
        files = {file for file in files - brought if file.startswith(ours) and not Sources.module_of(file).startswith(OUTSIDE)}
        assert files <= tree.reached(STAGES[name].code(a_job(tmp_path))), name
        used[name] = files
    heard = used["people"] | used["transcript"] | used["speech"]
    assert {"modalities/voice/whisper_states.py", "modalities/speech/windows.py"} <= heard
    assert "modalities/voice/embedded.py" in used["speech"] | used["voice"]
    assert "reports/page/page.css" in used["publish"]


def test_prompts_are_in_the_keys_by_their_content(tmp_path: Path) -> None:
    """Settings name files in `configs/` or of the user: what they say counts."""
    prompts = tmp_path / "mine.yaml"
    job = a_job(tmp_path, scene_labels={"prompts": str(prompts)})
    prompts.write_text("templates: ['a {} scene']\n")
    old = stage_keys(job)
    prompts.write_text("templates: ['a {} place']\n")
    assert changed(old, stage_keys(job)) == with_later({"scene_labels"})


def test_the_language_that_the_text_network_reads_decodes_nothing_again(tmp_path: Path) -> None:
    english, every = (a_job(tmp_path, text={"backend": "transformers", "english_only": only}) for only in (True, False))
    told = changed(stage_keys(english), stage_keys(every))
    assert "text" in told
    assert not told & {"decode", "faces", "people", "static_face", "dynamic_face", "scene_labels"}
    subtitled = [replace(job, clip=replace(job.clip, subtitle_stream=2)) for job in (english, every)]
    assert "decode" in changed(*map(stage_keys, subtitled)), "which of the subtitles are read may be another"
