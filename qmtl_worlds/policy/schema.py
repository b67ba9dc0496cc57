"""The JSON Schema of a policy, for editors and clients."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from qmtl_worlds.policy.document import PolicyDocument
from qmtl_worlds.policy.units import SESSIONS_PATTERN, format_duration, format_sessions


def policy_schema() -> dict[str, Any]:
    """Return the schema of the document; expressions and rules between sections are beyond it."""
    schema = PolicyDocument.model_json_schema(by_alias=True, schema_generator=_Generator)
    for field in _fields(schema):
        if field.get("pattern") == f"^{SESSIONS_PATTERN}$" and isinstance(field.get("default"), int):
            field["default"] = format_sessions(field["default"])
    return schema | {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:qmtl-worlds:policy",
        "title": "World policy",
    }


class _Generator(GenerateJsonSchema):
    """Writes lengths of time as policies do."""

    def encode_default(self, dft: Any) -> Any:
        return format_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


def _fields(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for section in (schema, *schema["$defs"].values()):
        yield from section.get("properties", {}).values()
