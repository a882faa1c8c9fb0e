"""Scenes described by a vision-language model behind a real server on loopback: good, slow, failing and malformed answers."""

import base64
import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from configs.schema import SceneContextSettings, ServerSettings
from configs.settings import load_settings, read_prompts
from data.emotions import ABAW_COMPOUNDS, BASIC_EMOTIONS
from data.errors import InputError, ServerError
from data.media.frames import Frame
from data.run_folder import RunFolder
from data.sample import sample_clip
from data.windows import make_windows
from modalities.scene_context import embedded as scene_context
from modalities.scene_context.chat_server import AnswerCache, ChatServer, Refused, ServerOptions, retry_after, text_of
from modalities.scene_context.describe import (  # fmt: skip
    ImageOptions,
    Prompt,
    combine,
    describe,
    images_by_window,
    label_names,
    prompt_of,
    read_answer,
)
from tests.chat_stand_in import Reply, chat_server
from tests.waiting import wait_until

HAPPY = "A woman smiles broadly and laughs; her eyes are bright and the mood is joyful and warm."
SAD = "A man lowers his head with tears in his eyes; his shoulders are slumped and the scene is sad and full of grief."
WINDOWS = make_windows(10.0)  # 0-4, 2-6, 4-8, 6-10
FREE = Prompt("Look.", "{count} pictures. Emotions: {labels}.")
CONSTRAINED = Prompt("", "Name one of {labels}.", constrained=True)
NAMES = label_names(ABAW_COMPOUNDS)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def frames(seconds: float = 10.0, rate: float = 5.0) -> Iterator[Frame]:
    """Plain pictures whose grey level is ten times their time."""
    for number in range(round(seconds * rate)):
        time_s = number / rate
        yield Frame(number, time_s, np.full((90, 160, 3), min(round(10 * time_s), 255), np.uint8))


def asked_of(url: str, model: str = "tiny-vl", **others: Any) -> ServerOptions:
    limits = {"concurrency": 2, "timeout": 60.0, "retries": 2, "backoff": 0.05, "longest_wait": 120.0, "max_tokens": 200}
    return ServerOptions(url, model, **(limits | others))


def ask(url: str, prompt: Prompt = FREE, clip: Iterator[Frame] | None = None, **options: Any) -> pd.DataFrame:
    with ChatServer(asked_of(url, **options)) as server:
        return describe(clip or frames(), WINDOWS, server, prompt, ImageOptions(4, 80), ABAW_COMPOUNDS)


def grey_levels(asked: dict[str, Any]) -> list[int]:
    """The mean level of each picture in a request."""
    parts = asked["messages"][-1]["content"]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    assert all(url.startswith("data:image/jpeg;base64,") for url in urls)
    pictures = [cv2.imdecode(np.frombuffer(base64.b64decode(url.split(",")[1]), np.uint8), cv2.IMREAD_COLOR) for url in urls]
    assert all(picture.shape == (45, 80, 3) for picture in pictures)
    return [round(float(picture.mean())) for picture in pictures]


# ---- what is asked


def test_each_window_is_asked_with_its_own_pictures() -> None:
    with chat_server(lambda number, asked: Reply(HAPPY)) as server:
        table = ask(server.url, concurrency=1)
    assert table[["window", "start", "end"]].to_numpy().tolist() == [[0, 0, 4], [1, 2, 6], [2, 4, 8], [3, 6, 10]]
    assert set(table["text"]) == {HAPPY}
    assert set(table["author"]) == {"tiny-vl"}
    first = server.asked[0]
    assert first["path"] == "/v1/chat/completions"
    assert (first["model"], first["temperature"], first["max_tokens"]) == ("tiny-vl", 0, 200)
    assert first["messages"][0] == {"role": "system", "content": "Look."}
    assert first["messages"][1]["content"][-1]["text"].startswith("4 pictures. Emotions: neutral, anger,")
    np.testing.assert_allclose(grey_levels(first), [0, 12, 26, 38], atol=2)
    np.testing.assert_allclose(grey_levels(server.asked[3]), [60, 72, 86, 98], atol=2)


def test_windows_without_pictures_are_not_asked() -> None:
    shown = dict(images_by_window(frames(3.0), WINDOWS, ImageOptions(8, 80)))
    assert {window: len(urls) for window, urls in shown.items()} == {0: 8, 1: 5}
    assert not list(images_by_window(iter(()), WINDOWS, ImageOptions(8, 80)))


def test_the_prompts_that_come_with_dyad() -> None:
    names = ("scene_description.yaml", "scene_description_label.yaml")
    free, constrained = (prompt_of(read_prompts(name), name) for name in names)
    assert not free.constrained
    assert constrained.constrained
    for wrong, words in (({}, "needs a text 'user'"), ({"user": "x", "constrained": True}, "never shows the labels")):
        with pytest.raises(InputError, match=f"mine.yaml.*{words}|{words}"):
            prompt_of(wrong, "mine.yaml")


# ---- limits, retries, failures


def holding(count: int) -> Callable[[int, dict[str, Any]], Reply]:
    """Answers nobody until so many ask at once, and then waits a while for one too many."""
    met, beyond = threading.Barrier(count), threading.Barrier(count + 1)

    def answer(number: int, asked: dict[str, Any]) -> Reply:
        if number < count:
            met.wait(60)
        with contextlib.suppress(threading.BrokenBarrierError):
            beyond.wait(1.0)
        return Reply(HAPPY)

    return answer


def test_two_clips_share_the_limit() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with chat_server(holding(2)) as server, ThreadPoolExecutor(2) as pool:
        tables = list(pool.map(lambda _: ask(server.url, concurrency=2), range(2)))
    assert [len(table) for table in tables] == [len(WINDOWS)] * 2
    assert server.most_at_once == 2


def test_errors_that_pass_are_tried_again_with_growing_pauses() -> None:
    first = [Reply(status=503, body=b"busy"), Reply(status=500, body=b"oops")]
    with chat_server(lambda number, asked: first[number] if number < 2 else Reply(SAD)) as server:
        table = ask(server.url, concurrency=1, backoff=0.2)
    assert set(table["text"]) == {SAD}
    assert len(server.asked) == len(WINDOWS) + 2
    pauses = np.diff(server.times[:3])
    assert (pauses >= [0.2, 0.4]).all()


def test_retry_after_is_heeded() -> None:
    limited = Reply(status=429, body=b"slow down", headers={"Retry-After": "1"})
    with chat_server(lambda number, asked: limited if number == 0 else Reply(SAD)) as server:
        ask(server.url, concurrency=1, backoff=0.01)
    assert server.times[1] - server.times[0] >= 1.0
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=30)
    most = (soon - datetime.now(UTC)).total_seconds()
    waits = retry_after(format_datetime(soon))
    assert waits is not None
    assert (soon - datetime.now(UTC)).total_seconds() <= waits <= most
    assert [retry_after(header) for header in (None, "soon", "0")] == [None, None, 0]
    hours = Reply(status=429, headers={"Retry-After": "7200"})
    with chat_server(lambda number, asked: hours) as server, pytest.raises(ServerError, match="asks to wait 7200 s"):
        ask(server.url)


@pytest.mark.parametrize("reply", [Reply(HAPPY, delay=60.0), Reply(HAPPY, drops=0.05)], ids=["late", "drop by drop"])
def test_a_slow_answer_is_given_up_and_asked_again(reply: Reply) -> None:
    with chat_server(lambda number, asked: reply if number == 0 else Reply(SAD)) as server:
        table = ask(server.url, concurrency=1, timeout=0.4, retries=50)  # on a busy machine the others may be late too
    assert table["text"].tolist() == [SAD] * 4


@pytest.mark.parametrize(
    ("reply", "words", "requests"),
    [
        (Reply(status=500, body=b"out of memory"), "no answer in 3 tries .HTTP 500: out of memory.; see that it runs", 3),
        (Reply(HAPPY, delay=60.0), "no answer in 3 tries .none within 0.2 s.", 3),
        (Reply(status=401, body=b"bad key"), "rejects the requests .HTTP 401: bad key.; check scene_context.server", 1),
        (Reply(status=404, body=b"no such model"), "HTTP 404: no such model", 1),
        (Reply(status=302, headers={"Location": "http://elsewhere/"}), "HTTP 302", 1),
    ],
)
def test_a_server_that_fails_is_an_error_in_a_sentence(reply: Reply, words: str, requests: int) -> None:
    with chat_server(lambda number, asked: reply) as server:
        with pytest.raises(ServerError, match=words):
            ask(server.url, concurrency=1, timeout=0.2 if reply.delay else 60.0)
        wait_until(lambda: len(server.asked) >= requests)  # it may read a question after its asker has gone
    assert len(server.asked) == requests


def test_nobody_there() -> None:
    with chat_server(lambda number, asked: Reply()) as server:
        url = server.url
    with pytest.raises(ServerError, match=f"{url} gave no answer in 3 tries"):
        ask(url)


def test_one_malformed_answer_costs_its_window_alone() -> None:
    replies = [
        Reply(HAPPY), Reply(body=b"<html>"), Reply(body=b'{"choices": []}'), Reply(status=400, body=b"too many pictures"),
    ]  # fmt: skip
    with chat_server(lambda number, asked: replies[number]) as server:
        table = ask(server.url, concurrency=1)
    assert table["text"].tolist() == [HAPPY, "", "", ""]
    assert table["problem"].tolist() == [
        "", "The server's answer is not a chat completion.", "The server's answer is not a chat completion.",
        "The server refused this window (HTTP 400: too many pictures).",
    ]  # fmt: skip
    assert "larger than a megabyte" in refusal(Reply(body=b" " * 2_000_000))


def refusal(reply: Reply) -> str:
    with chat_server(lambda number, asked: reply) as server:
        return str(ask(server.url, clip=frames(1.0))["problem"][0])


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"choices": [{"message": {"content": null}}]}', b"[" * 100_000, b"\xff"])
def test_bodies_that_hold_no_text(body: bytes) -> None:
    assert isinstance(text_of(body), Refused)


def test_text_in_parts() -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "image"}, {"type": "text", "text": "two"}]
    assert text_of(json.dumps({"choices": [{"message": {"content": parts}}]}).encode()) == "one two"


def test_the_key_is_sent_and_never_told(caplog: pytest.LogCaptureFixture) -> None:
    key = "sk-very-secret-0123"
    rejects = [Reply(status=503, body=f"cannot check {key}".encode()), Reply(status=401, body=f"wrong key {key}".encode())]
    caplog.set_level(logging.DEBUG)
    with chat_server(lambda number, asked: rejects[number]) as server, pytest.raises(ServerError) as error:
        ask(server.url, concurrency=1, api_key=key)
    assert server.keys == [f"Bearer {key}"] * 2
    assert "cannot check (key)" in caplog.text
    assert "wrong key (key)" in str(error.value)
    assert key not in caplog.text + str(error.value) + repr(asked_of("http://a", api_key=key))
    with chat_server(lambda number, asked: Reply(HAPPY)) as server:
        ask(server.url)
    assert set(server.keys) == {None}


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://a/v1", "http://me:pass@host/v1", "http://host/v1?key=x", "file:///etc"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ValidationError, match="base_url must look like") as error:
        SceneContextSettings(backend="server", server=ServerSettings(base_url=url, model="tiny-vl"))
    assert "pass" not in str(error.value)


BUSY = Reply(status=503, headers={"Retry-After": "60"})


@pytest.mark.timing
@pytest.mark.parametrize("reply", [BUSY, Reply(HAPPY, delay=20.0)], ids=["busy", "slow"])
def test_a_request_to_stop_ends_the_waiting(reply: Reply) -> None:
    class Stopped(Exception):
        pass

    began = time.monotonic()

    def check() -> None:
        if time.monotonic() - began > 0.5:
            raise Stopped

    with chat_server(lambda number, asked: reply) as server:
        client = ChatServer(asked_of(server.url, timeout=120.0), check)
        with client, pytest.raises(Stopped):
            describe(frames(), WINDOWS, client, FREE, ImageOptions(1, 80))
    assert time.monotonic() - began < 10, "half of what the server would have it wait"


def test_a_run_that_broke_off_asks_only_what_is_not_answered(tmp_path: Path) -> None:
    kept, failing = tmp_path / "answers.jsonl", [True]

    def answer(number: int, asked: dict[str, Any]) -> Reply:
        return Reply(status=401) if failing[0] and number == 2 else Reply(f"He laughs at number {number}.")

    def run(url: str, model: str = "tiny-vl") -> pd.DataFrame:
        options = asked_of(url, model, concurrency=1)
        with ChatServer(options, answers=AnswerCache(kept)) as client:
            return describe(frames(), WINDOWS, client, FREE, ImageOptions(2, 80))

    with chat_server(answer) as server:
        with pytest.raises(ServerError, match="HTTP 401"):
            run(server.url)
        failing[0] = False
        kept.write_text(kept.read_text() + '\n{"asked": "cut o')
        said = run(server.url)["text"].tolist()
        assert said == [f"He laughs at number {number}." for number in (0, 1, 3, 4)]
        assert run(server.url)["text"].tolist() == said
        assert len(server.asked) == 5
        run(server.url, "another-vl")
        assert len(server.asked) == 9


# ---- what is read


@pytest.mark.parametrize(
    ("answer", "text", "label"),
    [
        ("She smiles.\nLabel: Happily Surprised", "She smiles.", "happily_surprised"),
        ("She smiles.\n\n**Label:** sadly_angry.", "She smiles.", "sadly_angry"),
        ("She smiles. Label: happiness", "She smiles.", "happiness"),
        ("He cries.\nFinal label - Sad", "He cries.", "sadness"),
        ("He cries.\nSadly fearful", "He cries.", "sadly_fearful"),
        ("Label: fear", "", "fear"),
        ("He cries.\nLabel: not angry", "He cries.", ""),
        ("He looks sadly angry to me.", "He looks sadly angry to me.", ""),
        ("<think>Label: fear</think>He laughs.\nlabel: joy", "He laughs.", "happiness"),
        ("<think>never ends", "", ""),
        (
            "<|channel|>analysis<|message|>Furious?<|end|><|start|>assistant<|channel|>final<|message|>He laughs.<|return|>",
            "He laughs.", "",
        ),
        ("<|begin_of_thought|>Furious?<|end_of_thought|>He laughs.", "He laughs.", ""),
        ("<seed:think>Furious?</seed:think><|begin_of_box|>He laughs.<|end_of_box|>", "He laughs.", ""),
        ("<unused94>thought\nFurious?<unused95>He laughs.", "He laughs.", ""),
        ("Is he furious?\n</think>\n\nShe laughs.", "She laughs.", ""),
        ("<think>a</think>b<think>c</think>He laughs.", "He laughs.", ""),
        ("[THINK]Is he furious?[/THINK]She laughs.", "She laughs.", ""),
        ("So he says: </THINK> He laughs. <think> or", "He laughs.", ""),
        ("Is he angry? " * 2000 + "</think>She laughs.", "She laughs.", ""),
        ("a\x1b[31m\x00b", "a [31m b", ""),
        ("", "", ""),
    ],
)
def test_a_label_is_read_only_where_it_stands_alone(answer: str, text: str, label: str) -> None:
    assert read_answer(answer, NAMES) == (text, label)


def test_an_answer_that_was_cut_off_while_thinking_is_none() -> None:
    answers = [("Is he furious and full of hate? I should che", "length"), ("Hm.</think>" + HAPPY, "length"), (HAPPY, "stop")]
    with chat_server(lambda number, asked: Reply(answers[number % 3][0], finish=answers[number % 3][1])) as server:
        table = ask(server.url, CONSTRAINED, concurrency=1)
    assert table["text"].tolist()[:3] == ["", HAPPY, HAPPY]
    assert "raise scene_context.server.max_tokens" in table["problem"].tolist()[0]


def test_without_a_constrained_prompt_no_label_is_read() -> None:
    assert read_answer("He cries.\nLabel: fear", {}) == ("He cries. Label: fear", "")
    assert len(read_answer("word " * 10_000, {})[0]) <= 4000


def test_words_and_label_are_mixed_and_the_evidence_says_so() -> None:
    answers = [HAPPY, f"{SAD}\nLabel: sadly angry", "Label: fear", ""]
    with chat_server(lambda number, asked: Reply(answers[number])) as server:
        table = ask(server.url, CONSTRAINED, concurrency=1)
    words = scene_context.recognise(scene_context.load(), table, WINDOWS)
    assert words.present.tolist() == [True, True, False, False], "a window has its own description alone"
    scores = combine(words, table, ABAW_COMPOUNDS, 0.5, "tiny-vl")
    assert scores.present.tolist() == [True, True, True, False]
    np.testing.assert_allclose(scores.probabilities[0], words.probabilities[0])
    half = np.zeros(7)
    half[[BASIC_EMOTIONS.index("sadness"), BASIC_EMOTIONS.index("anger")]] = 0.5
    np.testing.assert_allclose(scores.probabilities[1], 0.5 * words.probabilities[1] + 0.5 * half, atol=1e-6)
    np.testing.assert_allclose(scores.probabilities[2], 0.5 / 7 + 0.5 * (np.arange(7) == 3), atol=1e-6)
    assert scores.source is not None
    assert (scores.source.backend, scores.source.model) == ("server", "tiny-vl")
    assert scores.evidence["label"].tolist() == ["", "sadly_angry", "fear", ""]
    assert scores.evidence["problem"].tolist()[3] == "The model answered without a word."
    plain = combine(words, table, ABAW_COMPOUNDS, 0.0, "tiny-vl")
    np.testing.assert_allclose(plain.probabilities[1], words.probabilities[1], atol=1e-6)


def test_a_description_in_other_letters_is_absent_with_its_reason() -> None:
    with chat_server(lambda number, asked: Reply("\u5979\u7b11\u4e86\u3002")) as server:
        table = ask(server.url)
    scores = combine(scene_context.recognise(scene_context.load(), table, WINDOWS), table, ABAW_COMPOUNDS, 0.5, "tiny-vl")
    assert scores.is_absent
    assert scores.reason.endswith("no words in Latin letters, which are what the head reads.")
    assert set(scores.evidence["problem"]) == {scores.reason.removeprefix("The server described no window of the clip. ")}


# ---- the whole flow


def server_settings(url: str, **server: Any) -> Any:
    tree = {"base_url": url, "model": "tiny-vl", "retries": 1, "backoff": 0.05, "key_variable": "MY_KEY"} | server
    return load_settings(overrides={"scene_context": {"backend": "server", "server": tree}})


@pytest.mark.slow
def test_the_flow_asks_a_server_once(
    prefect_session: None, tmp_path: Path, result_of: Callable[[RunFolder], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.video import recognise_video

    monkeypatch.setenv("MY_KEY", "sk-of-the-flow")
    failing = [Reply(status=500, body=b"loading sk-of-the-flow")] * 2
    with chat_server(lambda number, asked: failing[number] if number < 2 else Reply(f"{SAD}\nLabel: sadly angry")) as server:
        settings = server_settings(server.url, prompt="scene_description_label.yaml", concurrency=1)
        folder = RunFolder(recognise_video(sample_clip(), settings, tmp_path))
        entry = result_of(folder)["modalities"]["scene_context"]
        assert entry["state"] == "failed"
        assert "HTTP 500: loading (key)" in entry["reason"]
        assert "Waiting 0.1 s for the server: HTTP 500: loading (key)" in folder.log.read_text()
        recognise_video(sample_clip(), settings, tmp_path)
        entry = result_of(folder)["modalities"]["scene_context"]
        assert (entry["state"], entry["source"]["model"]) == ("present", "tiny-vl")
        assert entry["windows_present"] == entry["windows"] == len(server.asked) - 2
        asked = len(server.asked)
        recognise_video(sample_clip(), settings.model_copy(update={"profile": "again"}), tmp_path)
        assert len(server.asked) == asked, "what is answered is not asked again"
    evidence = pd.read_parquet(folder.evidence("scene_context"))
    assert set(evidence["text"]) == {SAD}
    assert set(evidence["label"]) == {"sadly_angry"}
    assert set(server.keys) == {"Bearer sk-of-the-flow"}
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"sk-of-the-flow" in path.read_bytes() for path in written)


def test_a_server_is_set_from_the_environment() -> None:
    environment = {
        "DYAD_SCENE_CONTEXT__BACKEND": "server",
        "DYAD_SCENE_CONTEXT__SERVER__MODEL": "some/vl",
        "DYAD_SCENE_CONTEXT__SERVER__BASE_URL": "http://localhost:8000/v1",
    }
    section = load_settings(environment=environment).scene_context
    assert (section.backend, section.server.model) == ("server", "some/vl")
    with pytest.raises(InputError, match="base_url must look like") as error:
        load_settings(environment=environment | {"DYAD_SCENE_CONTEXT__SERVER__BASE_URL": "http://me:secret@host/v1"})
    assert "secret" not in str(error.value)
    with pytest.raises(InputError, match="Set scene_context.server.model"):
        load_settings(environment={name: value for name, value in environment.items() if "MODEL" not in name})
