"""What S4D and IFDD claim of time, each as an ablation over seeds: small networks from random weights on clips made of stills.

    ./dyad benchmark learning_ablations --data ../shared/datasets --seeds 5 [--only s4d,ifdd] [--log rows.jsonl]

s4d: whether a clip shows happiness or surprise, learned from few clips; alone, along with many stills (`--with-stills`),
and alone for as many steps as both together have. ifdd: the same question, from ten times as many clips, answered by the dynamic
half, by the static half, and by both. All arms have the same clips, steps over clips (but for the third of s4d) and seeds;
differences are paired by seed, with Student's 95 % interval.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import header, print_table
from benchmarks.learning.clips import NETWORKS, RECIPE, S4D, SHOWN, Bench, SmallNetwork, bench_of, clip_parser, said, trained
from benchmarks.learning.learning import mean_interval, paired_interval

FEW = {**RECIPE, "batch": 16}
"""SmallNetwork batches: there are few clips."""


@dataclass(frozen=True)
class Arm:
    """One way to train: a title, the network, and what its training is told beside."""

    title: str
    small: SmallNetwork
    others: Mapping[str, Any] = field(default_factory=dict)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = clip_parser(__doc__, pairs=200, held_out=400, seeds=5)
    parser.add_argument("--only", default="s4d,ifdd", help="ablations, with commas between")
    given = parser.parse_args(arguments)
    print(header())
    with bench_of(given) as bench:
        for name in given.only.split(","):
            manifest, arms = ABLATIONS[name](bench)
            print_table([name, "accuracy", "UAR", "UAR less the first's, 95 % over seeds", "seconds"],
                        rows_of(name, arms, bench, manifest, range(given.seeds), given.log))  # fmt: skip


def rows_of(
    name: str, arms: Sequence[Arm], bench: Bench, manifest: Path, seeds: Sequence[int], log: Path | None
) -> Iterator[list[object]]:
    """A row an arm, seed by seed so that a broken-off run has whole pairs."""
    found: dict[str, list[dict[str, Any]]] = {arm.title: [] for arm in arms}
    for seed in seeds:
        for arm in arms:
            found[arm.title].append(trained(f"{name}, {arm.title}", arm.small, bench, manifest, seed, log, **arm.others))
    first = [row["uar"] for row in found[arms[0].title]]
    for title, rows in found.items():
        uar = [row["uar"] for row in rows]
        apart = "" if title == arms[0].title else str(paired_interval(uar, first))
        seconds = f"{np.mean([row['seconds'] for row in rows]):.0f}"
        war = mean_interval([row["war"] for row in rows])
        yield [title, f"{war.mean:.3f} ({said(war)})", f"{np.mean(uar):.3f} ({said(mean_interval(uar))})", apart, seconds]


def emotions(bench: Bench, frames: int, more: int = 1) -> Path:
    """The manifest of clips that show the one or the other expression at its apex, whether it comes or goes."""
    return bench.clips(frames, more=more, apex_seen=True).with_name("emotions.csv")


def stills(bench: Bench) -> Path:
    """The manifest of stills with the same labels."""
    lines = bench.stills().read_text(encoding="utf-8").splitlines()
    path = bench.stills().with_name("shown.csv")
    kept = [line for line in lines[1:] if line.split(",")[1] in SHOWN]
    path.write_text("\n".join([lines[0], *kept]) + "\n", encoding="utf-8")
    return path


def _s4d(bench: Bench) -> tuple[Path, list[Arm]]:
    """A step over stills for each over clips."""
    small = SmallNetwork("s4d", S4D, epochs=20, recipe=FEW)
    return emotions(bench, 4), [
        Arm("clips alone", small),
        Arm("clips and stills", small, {"stills": stills(bench), "recipe": {**FEW, "still_steps": 1.0}}),
        Arm("clips alone, twice the steps", replace(small, epochs=40)),
    ]


def _ifdd(bench: Bench) -> tuple[Path, list[Arm]]:
    """Random weights need more clips than S4D was given: it hardly learns from 200 pairs."""
    base, arms = replace(NETWORKS["ifdd-xs"], start="", epochs=4, recipe={"rate": 5e-4, "batch": 16}), []
    for title, half in (("dynamic half", "moving"), ("static half", "still"), ("both halves", "both")):
        arms.append(Arm(title, replace(base, settings={**base.settings, "lifting": {"classified": half, "drop": 0.0}})))
    return emotions(bench, 8, more=10), arms


ABLATIONS = {"s4d": _s4d, "ifdd": _ifdd}

if __name__ == "__main__":
    main()
