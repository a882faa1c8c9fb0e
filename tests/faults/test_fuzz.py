"""Damaged media of every kind, by chance: decoded or refused in a sentence; `./dyad benchmark fuzz` tries thousands."""

from collections import Counter
from pathlib import Path

from benchmarks.fuzz import KINDS, damaged, fuzz, make_clips


def test_two_hundred_damaged_files(tmp_path: Path) -> None:
    tried = list(fuzz(tmp_path, 200, seed=1))
    assert [one["number"] for one in tried] == list(range(200))
    assert [one for one in tried if one["became"] not in ("decoded", "refused")] == []
    counts = Counter(one["became"] for one in tried)
    assert min(counts["decoded"], counts["refused"]) > 20, "the changes are neither harmless nor hopeless"
    refused = [one["said"] for one in tried if one["became"] == "refused"]
    assert all(f"{tmp_path}/damaged-" in said and said.endswith(".") and "\n" not in said for said in refused)


def test_the_same_seed_makes_the_same_files(tmp_path: Path) -> None:
    clips = [path.read_bytes() for path in make_clips(tmp_path)]
    assert len(clips) == len(KINDS)
    files = [damaged(clips, 3, number) for number in range(40)]
    assert files == [damaged(clips, 3, number) for number in range(40)]
    assert files != [damaged(clips, 4, number) for number in range(40)]
    assert sum(content == clips[which] for which, content in files) < 5
