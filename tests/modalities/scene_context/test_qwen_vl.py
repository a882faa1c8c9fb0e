"""Scenes described by Qwen-VL on this machine: tiny random checkpoints against direct calls of transformers."""

import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from configs.settings import read_prompts
from data.emotions import ABAW_COMPOUNDS
from data.errors import InputError, WeightsError
from data.media.decode import DecodeOptions, decode
from data.media.frames import Frame, read_frames
from data.media.probe import probe
from data.windows import make_windows
from modalities.scene_context import embedded as scene_context
from modalities.scene_context.chunked_attention import attend, use_chunked_attention
from modalities.scene_context.describe import Prompt, chat_of, combine, label_names, names_asked, prompt_of
from modalities.scene_context.qwen_vl import (  # fmt: skip
    QwenVL,
    VideoOptions,
    batch_inputs,
    describe,
    describe_windows,
    load_qwen,
    rate_of,
    request_of,
)
from tests.tiny_qwen import save_tiny_qwen

FAMILIES = ("qwen2_5_vl", "qwen3_vl", "qwen2_vl", "qwen3_vl_moe")
WINDOWS = make_windows(7.0)  # 0-4, 2-6, 4-7
FREE = Prompt("Look.", "{count} pictures. Emotions: {labels}.")
SMALL = VideoOptions(frames_per_second=2.0, pixels_per_image=20_000, pixels_per_window=120_000, max_new_tokens=12)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny checkpoint of each family, written once. Read it, never write to it."""
    root = tmp_path_factory.mktemp("qwen")

    def folder(family: str) -> Path:
        return root / family if (root / family).is_dir() else save_tiny_qwen(root / family, family)

    return folder


@pytest.fixture
def model(request: pytest.FixtureRequest, folders: Callable[[str], Path]) -> QwenVL:
    return load_qwen(folders(getattr(request, "param", "qwen2_5_vl")), precision="float32")


def frames(seconds: float = 7.0, rate: float = 5.0, seed: int = 0) -> Iterator[Frame]:
    """Pictures of coarse noise."""
    made = np.random.default_rng(seed)
    for number in range(round(seconds * rate)):
        blocks = made.integers(0, 256, (9, 16, 3), dtype=np.uint8)
        yield Frame(number, number / rate, blocks.repeat(10, 0).repeat(10, 1))


def pictures(count: int, seed: int = 0) -> list[tuple[float, np.ndarray]]:
    return [(frame.time_s, frame.rgb) for frame in frames(count / 2, 2.0, seed)]


def directly(folder: Path, video: np.ndarray, seconds: list[float], text: Prompt, size: dict[str, int]) -> str:
    """What transformers itself answers, one window alone, as its documentation shows it."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    network = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folder)
    content = [{"type": "video"}, {"type": "text", "text": text.user}]
    chat = [{"role": "system", "content": text.system}, {"role": "user", "content": content}]
    asked = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    metadata = {"fps": 10.0, "frames_indices": [round(10 * time) for time in seconds], "total_num_frames": 5 * len(seconds)}
    inputs = processor(
        text=[asked], videos=[video], video_metadata=[metadata], do_sample_frames=False, cap_pixels_per_frame=False,
        size=size, return_tensors="pt",
    )  # fmt: skip
    with torch.inference_mode():
        tokens = network.generate(
            **inputs, do_sample=False, temperature=None, top_k=None, repetition_penalty=1.0, max_new_tokens=12
        )
    return str(processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0])


# ---- the same answers as the library's


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_transformers(family: str, folders: Callable[[str], Path]) -> None:
    model = load_qwen(folders(family), precision="float32")
    said = describe(model, frames(), WINDOWS, FREE, SMALL)
    assert said[["window", "start", "end"]].to_numpy().tolist() == [[0, 0, 4], [1, 2, 6], [2, 4, 7]]
    assert said["text"].nunique() == 3, "the pictures decide what is said"
    assert set(said["author"]) == {family}
    video = list(frames())
    times = [2.0, 2.6, 3.0, 3.6, 4.0, 4.6, 5.0, 5.6]  # the first pictures at or after each half second
    chosen = np.stack([frame.rgb for frame in video if any(abs(frame.time_s - time) < 1e-6 for time in times)])
    names = ", ".join(label_names(()))
    asked = Prompt("Look.", f"8 pictures. Emotions: {names}.")
    edge = 15_000 * (8 if family.startswith("qwen3") else 1)
    smallest = 32 * 32 if family.startswith("qwen3") else 28 * 28
    size = {"shortest_edge": smallest, "longest_edge": edge}
    answer = directly(folders(family), chosen, [time - 2 for time in times], asked, size)
    assert answer
    assert said["text"][1] == " ".join("".join(mark if mark.isprintable() else " " for mark in answer).split())


@pytest.mark.parametrize("model", FAMILIES, indirect=True)
def test_a_batch_answers_as_each_window_alone(model: QwenVL) -> None:
    asked = [
        request_of(model, pictures(count, seed=count), prompt, {}, SMALL, 0.0)
        for count, prompt in ((8, FREE), (1, FREE), (5, Prompt("", "And this one, which is a longer question? " * 4)))
    ]
    assert len({len(request.tokens) for request in asked}) == 3
    together = describe_windows(model, asked)
    assert together == [describe_windows(model, [request])[0] for request in asked]
    assert len(set(together)) == 3
    inputs, longest = batch_inputs(model, asked)
    assert inputs["attention_mask"][:, -1].tolist() == [1, 1, 1]
    assert inputs["attention_mask"].sum(1).tolist() == [len(request.tokens) for request in asked]
    assert inputs["input_ids"].shape == (3, longest)


def test_each_request_has_its_own_longest_answer(model: QwenVL) -> None:
    few, many = (
        request_of(model, pictures(4), FREE, {}, VideoOptions(2.0, 20_000, 120_000, tokens), 0.0) for tokens in (3, 20)
    )
    short, long = describe_windows(model, [few, many])
    assert short == describe_windows(model, [few])[0]
    assert long == describe_windows(model, [many])[0]
    assert 0 < len(short) < len(long)


def test_windows_of_several_clips_share_a_batch(model: QwenVL) -> None:
    """What a queue does: it fills its batches from the items of all clips."""
    clips = [
        [request_of(model, pictures(6, seed), FREE, {}, SMALL, 0.0) for seed in seeds] for seeds in ((1, 2), (3,))
    ]
    mixed = describe_windows(model, [clips[0][0], clips[1][0], clips[0][1]])
    apart = [describe_windows(model, clip) for clip in clips]
    assert mixed == [apart[0][0], apart[1][0], apart[0][1]]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision(folders: Callable[[str], Path], precision: Any) -> None:
    model = load_qwen(folders("qwen3_vl"), precision=precision)
    kinds = {weight.dtype for weight in model.network.parameters()}
    assert kinds == {getattr(torch, precision)}
    request = request_of(model, pictures(4), FREE, {}, SMALL, 0.0)
    assert request.patches.dtype == getattr(torch, precision)
    assert describe_windows(model, [request])[0]


@pytest.mark.parametrize("model", FAMILIES, indirect=True)
def test_the_picture_tower_attends_to_all_chunks_at_once(model: QwenVL) -> None:
    """As it does on a GPU: the same numbers as with transformers' loop over the chunks, in a few calls."""
    asked = [request_of(model, pictures(count, seed=count), FREE, {}, SMALL, 0.0) for count in (8, 3)]
    tower, (inputs, _) = model.network.model.visual, batch_inputs(model, asked)
    seen = [inputs[name] for name in ("pixel_values_videos", "video_grid_thw")]
    before, said, calls = tower(*seen).pooler_output, describe_windows(model, asked), attention_calls(tower, *seen)
    use_chunked_attention(tower)
    torch.testing.assert_close(tower(*seen).pooler_output, before, atol=1e-5, rtol=1e-4)
    assert describe_windows(model, asked) == said
    assert attention_calls(tower, *seen) < calls


def attention_calls(tower: Any, *seen: torch.Tensor) -> int:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        tower(*seen)
    return sum(event.count for event in profile.key_averages() if event.key == "aten::scaled_dot_product_attention")


def test_attention_within_chunks_of_any_lengths() -> None:
    lengths = [4, 7, 4, 1, 7, 7, 2]
    bounds = torch.tensor([0, *np.cumsum(lengths)])
    query, key, value = torch.randn(3, 2, sum(lengths), 8)
    parts = zip(*(part.split(lengths, 1) for part in (query, key, value)), strict=True)
    alone = torch.cat([torch.nn.functional.scaled_dot_product_attention(*part) for part in parts], 1)
    torch.testing.assert_close(attend(query, key, value, bounds), alone)


def test_no_warnings(model: QwenVL, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        describe(model, frames(), WINDOWS, FREE, SMALL)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_clips_in_threads_of_their_own(model: QwenVL) -> None:
    """Processor and network are shared by all clips under way."""
    from concurrent.futures import ThreadPoolExecutor

    def said(seed: int) -> list[str]:
        return describe(model, frames(seed=seed), WINDOWS, FREE, SMALL, batch=2)["text"].tolist()

    alone = [said(seed) for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(said, range(6))) == alone


# ---- what the model is shown


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_the_pixel_budget_is_kept(family: str, folders: Callable[[str], Path]) -> None:
    model = load_qwen(folders(family), precision="float32")
    side = 14 if family == "qwen2_5_vl" else 16
    wide = [(number / 2, np.zeros((540, 960, 3), np.uint8)) for number in range(8)]
    for per_picture, per_window in ((50_000, 10**9), (10**9, 400_000)):
        options = VideoOptions(2.0, per_picture, per_window, 4)
        time, rows, columns = request_of(model, wide, FREE, {}, options, 0.0).grid[0].tolist()
        assert time == 4
        assert 30_000 < rows * columns * side * side <= 50_000
        assert columns / rows == pytest.approx(16 / 9, rel=0.2)


def test_times_are_told_from_the_start_of_the_window(folders: Callable[[str], Path]) -> None:
    late = [(100 + time, rgb) for time, rgb in pictures(4)]
    third = load_qwen(folders("qwen3_vl"), precision="float32")
    text = third.processor.tokenizer.decode(request_of(third, late, FREE, {}, SMALL, 100.0).tokens)
    assert "<0.2 seconds>" in text
    assert "<1.2 seconds>" in text
    second = load_qwen(folders("qwen2_5_vl"), precision="float32")
    for rate, seconds in ((2.0, 1.0), (4.0, 0.5), (1.0, 2.0)):
        options = VideoOptions(rate, 20_000, 120_000, 4)
        shown = [(number / rate, rgb) for number, (_, rgb) in enumerate(pictures(4))]
        assert request_of(second, shown, FREE, {}, options, 0.0).seconds_per_grid == pytest.approx(seconds, abs=1e-9)


def test_a_clip_with_fewer_pictures_than_wanted_has_its_own_rate() -> None:
    assert rate_of([0.0, 0.6, 1.0, 1.6], 2.0) == 2.0, "the first pictures after each tick"
    assert rate_of([0.0, 1.0, 2.0, 3.0], 2.0) == 1.0
    assert rate_of([1.0, 1.0], 2.0) == 2.0


def test_windows_without_pictures_are_not_asked(model: QwenVL) -> None:
    said = describe(model, frames(3.0), WINDOWS, FREE, SMALL)
    assert said["window"].tolist() == [0, 1]
    assert describe(model, iter(()), WINDOWS, FREE, SMALL).empty


def test_pictures_are_read_only_as_batches_need_them(model: QwenVL) -> None:
    seen: list[float] = []

    def watched() -> Iterator[Frame]:
        for frame in frames(60.0):
            seen.append(frame.time_s)
            yield frame

    class Enough(Exception):
        pass

    def first_batch(work: Any, model: QwenVL, items: Iterator[Any], size: int) -> Iterator[str]:
        yield from work(model, [next(items) for _ in range(size)])
        raise Enough

    with pytest.raises(Enough):
        describe(model, watched(), make_windows(60.0), FREE, SMALL, batches=first_batch, batch=2)
    assert max(seen) <= 6.0


def test_pictures_too_narrow_to_show(model: QwenVL) -> None:
    with pytest.raises(InputError, match="Pictures of 960 x 2 pixels cannot be shown"):
        request_of(model, [(0.0, np.zeros((2, 960, 3), np.uint8))], FREE, {}, SMALL, 0.0)


def test_thoughts_are_left_out(folders: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copied(folders("qwen3_vl"), tmp_path)
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("assistant\n", "assistant\n<think>\n"))
    model = load_qwen(folder, precision="float32")
    request = request_of(model, pictures(4), FREE, {}, SMALL, 0.0)
    assert describe_windows(model, [request])[0].startswith("<think>")
    said = describe(model, frames(), WINDOWS, FREE, SMALL)
    assert said["text"].tolist() == [""] * 3, "thoughts that never end are no answer"
    assert set(said["problem"]) == {"The model answered without a word."}


@pytest.mark.parametrize("name", ["scene_description.yaml", "scene_description_label.yaml"])
def test_the_prompts_that_come_with_dyad(name: str, model: QwenVL) -> None:
    prompt = prompt_of(read_prompts(name), name)
    names = names_asked(prompt, ABAW_COMPOUNDS)
    assert ("sadly angry" in names) == prompt.constrained
    request = request_of(model, pictures(8), prompt, names, SMALL, 0.0)
    text = model.processor.tokenizer.decode(request.tokens)
    assert "8 pictures" in text
    assert "sadness, surprise" in text
    assert ("sadly angry" in text) == prompt.constrained
    assert text.index("<|vision_end|>") < text.index("8 pictures"), "first the video, then the question"
    assert text.startswith("<|im_start|>system")
    assert chat_of(prompt, [], 8, names)[0]["role"] == "system"


# ---- a real clip, from its file to scores


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_a_real_clip(family: str, folders: Callable[[str], Path], shared: Path, tmp_path: Path) -> None:
    clip = probe(shared / "datasets" / "media" / "expressive_1.mp4")
    decoded = decode(clip, tmp_path, DecodeOptions(5.0, 960))
    windows = make_windows(clip.duration)
    model = load_qwen(folders(family), precision="float32")
    name = "scene_description_label.yaml"
    stream = read_frames(decoded.frames, decoded.index)
    table = describe(model, stream, windows, prompt_of(read_prompts(name), name), SMALL, ABAW_COMPOUNDS, batch=2)
    assert table["window"].tolist() == list(range(len(windows)))
    words = scene_context.recognise(scene_context.load(), table, windows)
    scores = combine(words, table, ABAW_COMPOUNDS, 0.5, model.source)
    assert scores.evidence["text"].tolist() == table["text"].tolist()
    unreadable = ~scores.present
    assert (scores.evidence["problem"][unreadable] != "").all()
    assert np.isnan(scores.probabilities[unreadable]).all()
    np.testing.assert_allclose(scores.probabilities[scores.present].sum(1), 1.0, atol=1e-5)
    if scores.present.any():
        assert scores.source is not None
        assert (scores.source.backend, scores.source.model) == ("qwen", family)
        assert scores.source.preprocessing.startswith("described by the model from a video of each window, then read by")
    else:
        assert scores.reason.startswith("The model described no window of the clip. ")


def test_unreadable_answers_are_absent_with_their_reason(model: QwenVL) -> None:
    table = describe(model, frames(), WINDOWS, FREE, SMALL)
    table["text"] = "\u5979\u7b11\u4e86\u3002"
    scores = combine(scene_context.recognise(scene_context.load(), table, WINDOWS), table, (), 0.5, model.source)
    assert scores.is_absent
    assert scores.reason == (
        "The model described no window of the clip. "
        "The description holds no words in Latin letters, which are what the head reads."
    )


# ---- folders that are as they should be, or not


def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def edit(path: Path, **entries: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_shards(tmp_path: Path, folders: Callable[[str], Path]) -> None:
    sharded = save_tiny_qwen(tmp_path / "qwen2_5_vl", shard_size="200KB")
    assert len(list(sharded.glob("*.safetensors"))) > 2
    whole, parts = (load_qwen(folder, precision="float32") for folder in (folders("qwen2_5_vl"), sharded))
    request = request_of(whole, pictures(4), FREE, {}, SMALL, 0.0)
    assert describe_windows(whole, [request]) == describe_windows(parts, [request])


def test_the_layout_of_the_published_repositories(folders: Callable[[str], Path], tmp_path: Path) -> None:
    """Qwen2.5-VL as it lies on the hub: a flat config.json, rope_scaling, and one processor file for pictures and videos."""
    folder = copied(folders("qwen2_5_vl"), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    text = config.pop("text_config")
    rope = text.pop("rope_parameters")
    text |= {"model_type": "qwen2_5_vl", "rope_theta": rope["rope_theta"]}
    text["rope_scaling"] = {"type": "mrope", "mrope_section": rope["mrope_section"]}
    (folder / "config.json").write_text(json.dumps(text | config))
    both = json.loads((folder / "processor_config.json").read_text())
    pictures_only = both["image_processor"] | {"processor_class": "Qwen2_5_VLProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures_only))
    (folder / "processor_config.json").unlink()
    template = folder / "chat_template.jinja"
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template.read_text()}))
    template.unlink()
    published, plain = (load_qwen(place, precision="float32") for place in (folder, folders("qwen2_5_vl")))
    request = request_of(published, pictures(4), FREE, {}, SMALL, 0.0)
    assert describe_windows(published, [request]) == describe_windows(plain, [request])


def test_a_snapshot_is_named_after_its_repository(folders: Callable[[str], Path], tmp_path: Path) -> None:
    snapshot = tmp_path / "models--Qwen--Qwen2.5-VL-3B-Instruct" / "snapshots" / "66285546d2b821cf421d4f5eb2576359d3770cd3"
    shutil.copytree(folders("qwen2_5_vl"), snapshot)
    source = load_qwen(snapshot).source
    assert (source.backend, source.model, source.revision) == ("qwen", "Qwen/Qwen2.5-VL-3B-Instruct", "66285546d2b8")
    assert len(load_qwen(folders("qwen2_5_vl")).source.revision) == 12


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_a_tensor(path: Path) -> None:
    tensors = load_file(path)
    del tensors["lm_head.weight"]
    save_file(tensors, path, metadata={"format": "pt"})


def other_width(path: Path) -> None:
    config = json.loads(path.read_text())
    config["text_config"]["intermediate_size"] = 96
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("config.json", Path.unlink, r"holds no model \(there is no config.json\)"),
        ("config.json", cut, r"The config.json in .* is not one of a model that transformers knows"),
        ("config.json", lambda path: edit(path, model_type="bert"), "of the kind 'bert', which cannot be asked about videos"),
        ("config.json", other_width, r"down_proj.weight is \[64, 128\] where config.json asks for \[64, 96\]"),
        ("config.json", lambda path: edit(path, video_token_id=3), r"The tokenizer in .* is not that of its network"),
        ("config.json", lambda path: edit(path, model_type="qwen3_vl"), r"The weights in .* (lack|do not fit|cannot be loaded)"),
        ("model.safetensors", Path.unlink, r"The weights in .* cannot be loaded .*no file named model.safetensors"),
        ("model.safetensors", cut, r"The weights in .* cannot be loaded .*incomplete"),
        ("model.safetensors", without_a_tensor, r"The weights in .* lack lm_head.weight"),
        ("tokenizer.json", Path.unlink, r"lacks a tokenizer \(tokenizer.json\)"),
        ("tokenizer.json", cut, r"The tokenizer and the picture processor in .* cannot be loaded"),
        ("tokenizer_config.json", Path.unlink, r"lacks the tokenizer's settings"),
        ("processor_config.json", Path.unlink, r"lacks a picture processor"),
        ("chat_template.jinja", Path.unlink, r"lacks a chat template"),
        ("chat_template.jinja", cut, r"The chat template in .* cannot be used"),
        ("chat_template.jinja", lambda path: path.write_text("user"), r"does not show videos"),
    ],
)  # fmt: skip
def test_a_folder_that_is_not_right_is_a_sentence(
    file: str, change: Callable[[Path], object], words: str, folders: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = copied(folders("qwen2_5_vl"), tmp_path)
    change(folder / file)
    with pytest.raises(WeightsError, match=words) as error:
        load_qwen(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(".")


def test_numbers_that_overflow_are_said(folders: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copied(folders("qwen2_5_vl"), tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] *= 1e6
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    model = load_qwen(folder, precision="float16")
    with pytest.raises(WeightsError, match="computes numbers that float16 cannot hold; set another precision"):
        describe_windows(model, [request_of(model, pictures(4), FREE, {}, SMALL, 0.0)])
    wide = load_qwen(folder, precision="bfloat16")
    assert describe_windows(wide, [request_of(wide, pictures(4), FREE, {}, SMALL, 0.0)])[0]
