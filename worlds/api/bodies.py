"""Request bodies: bounded, strict JSON, decoded once into typed shapes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec
from rest_framework.exceptions import ParseError, UnsupportedMediaType
from rest_framework.request import Request

from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.contracts.limit_errors import BodyTooLargeError

JSON: Final = "application/json"
JSON_LIMIT: Final = 262_144
SERIES_LIMIT: Final = 16_777_216
MAX_DEPTH: Final = 32

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*?)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*?)`", re.DOTALL)
_PLACE = re.compile(r" - at `(?:key in )?\$\.?(.*?)`$", re.DOTALL)


def read_json(request: Request, shape: type[T], *, limit: int = JSON_LIMIT) -> T:
    """Decode the body into ``shape``; an empty body is an empty object.

    Raises:
        UnsupportedMediaType: the body is not declared as JSON.
        BodyTooLargeError: it is over ``limit`` bytes.
        ParseError: it is no JSON (NaN and Infinity are none), or nests deeper than ``MAX_DEPTH``.
        InputInvalidError: it is not of that shape, with the path of what is wrong.
    """
    return decode_json(read_bytes(request, limit=limit, content_types=(JSON,)), shape)


def read_open_object(request: Request, shape: type[S], *, limit: int = JSON_LIMIT) -> tuple[S, dict[str, object]]:
    """Decode a JSON object whose unknown members are no error; return them beside the shape."""
    members = read_json(request, dict[str, Any], limit=limit)
    known = {field.encode_name for field in msgspec.structs.fields(shape)}
    return (
        convert({name: value for name, value in members.items() if name in known}, shape),
        {name: value for name, value in members.items() if name not in known},
    )


def read_bytes(request: Request, *, limit: int, content_types: tuple[str, ...]) -> bytes:
    """Read at most ``limit`` bytes of a body.

    Raises:
        UnsupportedMediaType: a body is there, of another type.
        BodyTooLargeError: there is more.
    """
    if int(request.META.get("CONTENT_LENGTH") or 0) > limit:
        raise BodyTooLargeError(limit=limit)
    data: bytes = request.stream.read(limit + 1) if request.stream is not None else b""
    if len(data) > limit:
        raise BodyTooLargeError(limit=limit)
    if data and content_type_of(request) not in content_types:
        raise UnsupportedMediaType(content_type_of(request) or "none", f"Send {' or '.join(content_types)}.")
    return data


def content_type_of(request: Request) -> str:
    """Return the declared type of the body, without parameters, in lower case."""
    return str(request.META.get("CONTENT_TYPE", "")).partition(";")[0].strip().lower()


def decode_json(body: bytes, shape: type[T]) -> T:
    """Decode JSON text into ``shape``; see ``read_json``."""
    text = body or b"{}"
    _check_depth(text)
    try:
        value = msgspec.json.decode(text, type=shape)
    except msgspec.ValidationError as error:
        raise refusal(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ParseError(f"The body is no valid JSON: {error}") from error
    if b"\\u0000" in text and _holds_nul(json.loads(text)):
        raise InputInvalidError(field="body", reason="must not hold the character NUL")
    return value


def convert(value: Mapping[str, object], shape: type[T], *, strict: bool = True) -> T:
    """Read plain values into ``shape``; ``strict=False`` reads numbers and times from text.

    Raises:
        InputInvalidError: a value does not fit, with its path.
    """
    try:
        return msgspec.convert(value, shape, strict=strict)
    except msgspec.ValidationError as error:
        raise refusal(error) from error


def refusal(error: msgspec.ValidationError) -> InputInvalidError:
    """Say which field is wrong and why."""
    message = str(error)
    place = _PLACE.search(message)
    path = place[1] if place else ""
    reason = message[: place.start()] if place else message
    for pattern, words in ((_UNKNOWN, "is unknown"), (_MISSING, "is required")):
        if named := pattern.match(reason):
            return InputInvalidError(field=f"{path}.{named[1]}" if path else named[1], reason=words)
    return InputInvalidError(field=path or "body", reason=reason[:1].lower() + reason[1:])


def _check_depth(text: bytes) -> None:
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", text)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MAX_DEPTH:
            raise ParseError(f"The body nests deeper than {MAX_DEPTH}.")


def _holds_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_holds_nul(part) for pair in value.items() for part in pair)
    return isinstance(value, list) and any(_holds_nul(part) for part in value)
