"""The kinds of values that a policy document is made of."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, WithJsonSchema

from qmtl_worlds.policy.units import (
    DURATION_PATTERN,
    SESSIONS_PATTERN,
    format_duration,
    format_sessions,
    parse_duration,
    parse_sessions,
)

MAX_SLOTS = 1000
"""The most strategies that a policy may select at once."""


class Part(BaseModel):
    """A section of the document: frozen, no unknown keys, no conversions between types, no NaN."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    def plain(self) -> dict[str, Any]:
        """Return the section as JSON values under its YAML keys: defaults filled in, what is not set left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


Duration = Annotated[
    timedelta,
    PlainValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": f"^{DURATION_PATTERN}$", "examples": ["5m", "3h"]}),
]
"""A length of time, wall or open time as the field says."""

Sessions = Annotated[
    int,
    PlainValidator(parse_sessions),
    PlainSerializer(format_sessions, return_type=str),
    WithJsonSchema({"type": "string", "pattern": f"^{SESSIONS_PATTERN}$", "examples": ["60d"]}),
]
"""A number of sessions of the world's calendar, written ``60d``."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A share of the world's capital."""
PositiveShare = Annotated[float, Field(gt=0, le=1)]
Multiple = Annotated[float, Field(gt=0, le=100)]
"""Gross notional over capital."""
SlotCount = Annotated[int, Field(ge=0, le=MAX_SLOTS)]
EvidenceCount = Annotated[int, Field(ge=1, le=1000)]
Score = Annotated[float, Field(ge=-1e9, le=1e9)]
