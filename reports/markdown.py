"""A result as Markdown: the timeline, the windows, and what each modality had to say."""

from collections.abc import Iterable, Sequence

from reports.answer import answer_name, figure, seconds, surely, title, window_answer
from reports.documents import ModalityEntry, ResultDocument, StretchEntry, WindowEntry

LONGEST_TABLE = 200
"""Rows of windows shown; a longer clip's are in windows.parquet."""


def result_markdown(result: ResultDocument) -> str:
    """The content of `result.json` for a person: a heading, the timeline, modalities, windows."""
    clip = result["clip"]
    parts = [
        f"# {escape(clip['clip_id'])}",
        escape(result["summary"]["sentence"]),
        *(f"**Problem:** {escape(problem)}" for problem in result["problems"]),
        *(escape(note) for note in result.get("notes", ())),
        "## Timeline",
        markdown_table(["from", "to", "shown", "how surely", "blend", "neutral"], map(_stretch, result["timeline"])),
        "## Modalities",
        markdown_table(
            ["modality", "state", "windows", "model", "reason"],
            [_modality(*item) for item in result["modalities"].items()],
        ),
        "## Windows",
        markdown_table(
            ["from", "to", "shown", "how surely", "blend", "most from"],
            map(_window, result["windows"][:LONGEST_TABLE]),
        ),
    ]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Text from media or files with every character that Markdown or HTML would act on made harmless."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")
    return "".join(f"\\{letter}" if letter in "\\`*_[]|#!" else letter for letter in plain)


def main_contribution(window: WindowEntry) -> tuple[str, float] | None:
    """The modality that gave most to a window's answer, and how much; None without evidence."""
    given = {name: value for name, value in window["contributions"].items() if value}
    if not given:
        return None
    name = max(given, key=lambda item: given[item])
    return name, given[name]


def _stretch(row: StretchEntry) -> list[str]:
    sure = surely(row.get("sureness"), row.get("sureness_range"))
    shown, blend = title(answer_name(row)), figure(row.get("blend"))
    return [seconds(row["start"]), seconds(row["end"]), shown, sure, blend, figure(row["neutral"])]


def _modality(name: str, entry: ModalityEntry) -> list[str]:
    model = entry["source"]["model"] if entry["source"] else ""
    windows = f"{entry['windows_present']} of {entry['windows']}"
    return [title(name), entry["state"], windows, escape(model), escape(entry["reason"])]


def _window(row: WindowEntry) -> list[str]:
    most = main_contribution(row)
    sure = surely(row.get("sureness"), row.get("sureness_range"))
    return [
        seconds(row["start"]), seconds(row["end"]), title(window_answer(row)), sure, figure(row.get("blend")),
        f"{title(most[0])} {most[1]:.2f}" if most else escape(row["reason"]),
    ]


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are escaped already."""
    lines = [" | ".join(heads), " | ".join("---" for _ in heads), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)
