"""The shape of every refusal."""

from __future__ import annotations

from msgspec import Struct


class FaultShape(Struct, kw_only=True):
    """One thing wrong with a policy's text."""

    line: int
    column: int
    path: str
    code: str
    message: str


class ProblemShape(Struct, kw_only=True):
    """RFC 9457; facts that a caller can act on stand beside these members."""

    type: str
    title: str
    status: int
    detail: str
    faults: list[FaultShape] = []
