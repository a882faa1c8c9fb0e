"""The typed documents say the same as the JSON schema beside them."""

import json

import pytest

from reports import documents
from reports.result import SCHEMA

WHOLE = json.loads(SCHEMA.read_text(encoding="utf-8"))
FIELDS = WHOLE["properties"]


@pytest.mark.parametrize(
    ("typed", "schema"),
    [
        (documents.ResultDocument, WHOLE),
        (documents.MadeBy, FIELDS["dyad"]),
        (documents.ClipEntry, FIELDS["clip"]),
        (documents.CompoundEntry, FIELDS["compounds"]["items"]),
        (documents.ModalityEntry, FIELDS["modalities"]["additionalProperties"]),
        (documents.FusionEntry, FIELDS["fusion"]),
        (documents.MatrixEntry, FIELDS["fusion"]["properties"]["matrices"]["items"]),
        (documents.WindowEntry, FIELDS["windows"]["items"]),
        (documents.StretchEntry, WHOLE["$defs"]["timeline"]["items"]),
        (documents.SummaryEntry, WHOLE["$defs"]["summary"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_typed_document_has_the_fields_of_the_schema(typed: type, schema: dict[str, object]) -> None:
    assert set(typed.__annotations__) == set(schema["properties"])  # type: ignore[call-overload]
    assert typed.__required_keys__ == set(schema["required"])  # type: ignore[attr-defined, call-overload]
