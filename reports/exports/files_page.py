"""The page of `dyad schema` and of the documentation's site: every file that Dyad writes, with its columns or fields."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from data.added_modalities import BUILT_IN
from reports.exports.file_schemas import COMPOUND, DATASET_FILES, MODALITY, RUN_FILES, Column, FileSchema
from reports.result import SCHEMA


def fields_of(schema: Mapping[str, Any], name: str = "") -> Iterator[Column]:
    """The fields of a JSON schema with dots between levels and [] for the items of a list."""
    definitions = schema.get("$defs", {})

    def walk(node: Mapping[str, Any], name: str) -> Iterator[Column]:
        if "$ref" in node:
            node = {**definitions[node["$ref"].rpartition("/")[2]], **node, "$ref": ""}
        node = {**node, **next((option for option in node.get("oneOf", ()) if option.get("type") != "null"), {})}
        if name:
            yield Column(name, _kind(node), "", str(node.get("description", "")))
        for key, inner in node.get("properties", {}).items():
            yield from walk(inner, f"{name}.{key}".lstrip("."))
        if isinstance(inner := node.get("additionalProperties"), dict) and "properties" in inner:
            yield from (column for column in walk(inner, f"{name}.<name>") if column.name != f"{name}.<name>")
        if "properties" in node.get("items", {}):
            yield from (column for column in walk(node["items"], f"{name}[]") if column.name != f"{name}[]")

    yield from walk(schema, name)


def _kind(node: Mapping[str, Any]) -> str:
    if "enum" in node or "const" in node:
        values = node.get("enum", [node.get("const")])
        return "one of " + ", ".join(map(str, values)) if len(values) > 1 else json.dumps(values[0])
    given = node.get("type", "object")
    return " or ".join([given] if isinstance(given, str) else given)


def files_page() -> str:
    """The page, in Markdown."""
    result = json.loads(SCHEMA.read_text(encoding="utf-8"))
    parts = [
        "# Every file that Dyad writes",
        "This page is made from the code; `dyad schema` prints it. Times are seconds from the beginning of the clip, "
        "probabilities lie in 0..1, and what is unknown or absent is empty (null), never zero. Text is UTF-8. Files are written "
        f"aside and renamed, so that none is ever half-written. `{COMPOUND}` stands for a column for each compound of the run "
        f"(seven unless the settings name others), `{MODALITY}` for {', '.join(BUILT_IN)}, and any that you add.",
        "## A clip: `runs/<clip_id>/`", *_sections(RUN_FILES),
        "## `result.json`", "\n".join(_table(fields_of(result))),
        "## A data set: the output folder of `dyad batch`", *_sections(DATASET_FILES),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _sections(files: Sequence[FileSchema]) -> Iterator[str]:
    """The files that are tables with their columns, then the others."""
    for file in files:
        if file.columns:
            yield f"### `{file.name}`\n{file.about} A row: {file.row}."
            yield "\n".join(_table(file.columns))
    yield "### Others"
    rows = [f"| `{file.name}` | {file.about} |" for file in files if not file.columns]
    yield "\n".join(["| file | holds |", "| --- | --- |", *rows])


def _table(columns: Iterable[Column]) -> Iterator[str]:
    yield from ("| column | type | unit | meaning |", "| --- | --- | --- | --- |")
    for column in columns:
        meaning = column.meaning + (" (not in every run)" if column.optional else "")
        yield f"| `{column.name}` | {column.kind} | {column.unit} | {meaning} |"
