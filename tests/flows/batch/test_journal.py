"""The journal of a data set: each clip once, however often it ended."""

from pathlib import Path

import pytest

from flows.batch import journal as journals
from flows.batch.journal import Entry, Journal


@pytest.mark.parametrize("fold", [journals.FOLD, 2])
def test_a_clip_that_ends_again_counts_once(fold: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "FOLD", fold)
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.add(Entry("a", "1", "failed", "It broke."))
        journal.add(Entry("a", "1", "failed", "It broke again."))
        journal.add(Entry("b", "2", "done"))
        assert len(journal) == 2
    with Journal(tmp_path / "journal.jsonl") as journal:
        assert len(journal) == 2
        journal.add(Entry("a", "1", "done"))
        assert len(journal) == 2, "it has ended in an earlier run"
        journal.add(Entry("c", "3", "done"))
        assert len(journal) == 3
        latest = [journal.latest(name) for name in "abc"]
        assert [entry.state for entry in latest if entry] == ["done", "done", "done"]
