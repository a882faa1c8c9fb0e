"""`dyad schema` says what is in the files of real runs, all of it and nothing else."""

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.emotions import ABAW_COMPOUNDS, BASIC_EMOTIONS
from data.run_folder import RunFolder
from data.scores import MODALITIES
from flows.batch.journal import Entry
from flows.clip.stages import STAGES
from reports.exports.file_schemas import DATASET_FILES, RUN_FILES, SUMMARY, WINDOWS, Column, FileSchema, column_named
from reports.exports.files_page import fields_of, files_page
from reports.exports.tables import arrow_wide
from reports.result import SCHEMA
from tests.answers import NAMES, made
from tests.media_makers import make_clip

KINDS = {
    "double": "float64", "float": "float32", "string": "text", "large_string": "text", "bool": "bool", "binary": "bytes",
    "list<element: float>": "list of float32", "list<element: halffloat>": "list of float16",
    "list<element: int64>": "list of int64",
}  # fmt: skip


@pytest.fixture(scope="module")
def data_set(prefect_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a small data set with a label and a clip that fails."""
    from flows.dataset import recognise_dataset

    folder = tmp_path_factory.mktemp("set")
    make_clip(folder / "one.mp4", seconds=1)
    (folder / "bad.mp4").write_text("no video")
    (folder / "clips.csv").write_text("path,clip_id,label\none.mp4,one,happiness\nbad.mp4,bad,\n")
    recognise_dataset(str(folder / "clips.csv"), str(folder / "runs"))
    return folder / "runs"


def expanded(columns: Iterable[Column]) -> list[Column]:
    """Columns with a place in their name, once for each compound, modality, stage."""
    names = {"<compound>": [compound.name for compound in ABAW_COMPOUNDS], "<modality>": MODALITIES, "<stage>": list(STAGES)}
    found = []
    for column in columns:
        place = next((place for place in names if place in column.name), "")
        found += [column.name.replace(place, name) for name in names[place]] if place else [column.name]
    whole = FileSchema("", "", "", tuple(columns))
    named = {name: column_named(whole, name) for name in found}
    return [replace(column, name=name) for name, column in named.items() if column]


def schema_of(file: str, files: Iterable[FileSchema]) -> FileSchema | None:
    """The schema that a file's path belongs to; one with a place in its name only when none has the name itself."""
    for schema in sorted(files, key=lambda schema: "<" in schema.name or "*" in schema.name):
        pattern = re.sub(r"<\w+>", "[^/]+", re.escape(schema.name).replace(r"\*", ".*"))
        if re.fullmatch(pattern + (".+" if schema.name.endswith("/") else ""), file):
            return schema
    return None


def check_parquet(path: Path, schema: FileSchema) -> None:
    fields = {field.name: str(field.type) for field in pq.read_schema(path)}
    columns = expanded(schema.columns)
    assert set(fields) <= {column.name for column in columns}, path
    assert [column.name for column in columns if column.name in fields] == list(fields), f"the order of {path}"
    for name, column in zip([column.name for column in columns], columns, strict=True):
        assert column.optional or name in fields, f"{path} has no {name}"
        if name in fields and fields[name] != "null":
            assert KINDS.get(fields[name], fields[name]) == column.kind, f"{name} in {path}"


def files_below(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]


def test_every_file_of_a_run_is_described_with_its_columns(sample_run: RunFolder) -> None:
    names = files_below(sample_run.root)
    assert len(names) > 30
    for name in names:
        schema = schema_of(name, RUN_FILES)
        assert schema is not None, f"{name} is not described in reports/exports/file_schemas.py"
        if name.endswith(".parquet"):
            assert schema.columns, name
            check_parquet(sample_run.root / name, schema)
    tables = {schema.name for schema in RUN_FILES if schema.columns}
    seen = {found.name for name in names if (found := schema_of(name, RUN_FILES))}
    without_models = {"scene_labels_evidence.parquet", "voice_evidence.parquet", ".stages/speech_evidence.parquet"}
    assert tables - seen <= without_models, "nothing is described that no run has"


def test_every_file_of_a_data_set_is_described_with_its_columns(data_set: Path) -> None:
    for name in files_below(data_set):
        schema = schema_of(name, DATASET_FILES)
        assert schema is not None, f"{name} is not described in reports/exports/file_schemas.py"
        if schema.name.endswith(".parquet"):
            check_parquet(data_set / name, schema)
        elif schema.name == "status.csv":
            assert list(pd.read_csv(data_set / name)) == [column.name for column in expanded(schema.columns)]
        elif schema.name == "journal.jsonl":
            lines = [json.loads(line) for line in (data_set / name).read_text().splitlines()]
            assert [list(line) for line in lines] == [[column.name for column in schema.columns]] * 2
            assert isinstance(Entry(**lines[0]), Entry)
    summary = json.loads((data_set / "summary.json").read_text())
    assert set(summary) == {column.name for column in SUMMARY.columns}
    figures = summary["metrics"]["emotions"]["clips"]
    about = next(column.meaning for column in SUMMARY.columns if column.name == "metrics")
    assert all(name in about for name in figures)


def test_every_field_of_a_result_is_described(data_set: Path, sample_run: RunFolder) -> None:
    described = {re.sub(r"\[\]|<name>\.", "", column.name) for column in fields_of(json.loads(SCHEMA.read_text()))}

    def names(value: Any, before: str = "") -> Iterable[str]:
        if isinstance(value, list):
            for item in value:
                yield from names(item, before)
        elif isinstance(value, dict):
            for key, inner in value.items():
                name = f"{before}.{key}".lstrip(".")
                yield name
                yield from names(inner, name)

    free = ("summary.seconds.", "summary.seconds_of_emotions.", "summary.compound.",
            "summary.basic.", "seconds.", "windows.basic.", "windows.compound.",
            "windows.contributions.", "windows.emotion_shares.", "fusion.matrices.shares.")  # fmt: skip
    free += tuple(f"people.answer.{name}" for name in free if name.startswith("summary."))
    free += ("people.answer.contributions.",)
    for file in (sample_run.result, data_set / "one" / "result.json"):
        for name in names(json.loads(file.read_text())):
            plain = re.sub(rf"modalities\.({'|'.join(MODALITIES)})\.?", "modalities.", name).rstrip(".")
            assert plain in described or plain.startswith((*free, "modalities.source.")), name


def test_the_wide_export_has_the_described_columns() -> None:
    table = pa.concat_tables(arrow_wide([made(8.0)]))
    for name in set(table.column_names) - {"clip_id", "reason"}:
        assert (column := column_named(WINDOWS, name)), name
        kind = str(table.schema.field(name).type)
        assert KINDS.get(kind, kind) == column.kind
    found = column_named(WINDOWS, NAMES[0])
    assert found is not None
    assert found.unit == "0..1"
    assert {column.name for column in WINDOWS.columns} >= set(BASIC_EMOTIONS)


def test_the_page_has_every_file_and_its_columns() -> None:
    page = files_page()
    for schema in (*RUN_FILES, *DATASET_FILES):
        assert f"`{schema.name}`" in page
        for column in schema.columns:
            assert f"| `{column.name}` | {column.kind} | {column.unit} | {column.meaning}" in page
