"""Errors that nobody thought of: a sentence and a log for the user, everything with --debug."""

import threading
from pathlib import Path

import pytest

from flows.cli import app


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state folder of its own, and a setting that no code expects to fail."""
    monkeypatch.setenv("DYAD_STATE", str(tmp_path / "state"))
    monkeypatch.setattr("configs.settings.load_settings", fail)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)


def fail(*_: object, **__: object) -> None:
    raise LookupError("a\nfault")


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> object:
    monkeypatch.setattr("sys.argv", ["dyad", *words])
    with pytest.raises(SystemExit) as ended:
        app.main()
    return ended.value.code


def test_a_sentence_and_a_private_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "settings", "--profile", "a b") == 1
    log = tmp_path / "state" / "logs" / "errors.log"
    assert capsys.readouterr().err == f"dyad: An error that was not expected: LookupError: a fault; {log} has the details.\n"
    text = log.read_text(encoding="utf-8")
    assert "dyad settings --profile 'a b'\n" in text
    assert "Traceback" in text
    assert log.stat().st_mode & 0o077 == 0


def test_no_log_where_none_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").write_text("a file")
    assert call(monkeypatch, "settings") == 1
    assert "'dyad --debug' and the same words show more." in capsys.readouterr().err


def test_debug_shows_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["dyad", "--debug", "settings"])
    with pytest.raises(LookupError):
        app.main()


def test_a_thread_that_fails_is_in_the_log_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def settings(*_: object, **__: object) -> None:
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
        fail()

    monkeypatch.setattr("configs.settings.load_settings", settings)
    assert call(monkeypatch, "settings") == 1
    assert "Traceback" not in capsys.readouterr().err
    assert (tmp_path / "state" / "logs" / "errors.log").read_text(encoding="utf-8").count("Traceback") == 2
