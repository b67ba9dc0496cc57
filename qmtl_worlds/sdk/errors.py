"""What can go wrong between a Runner and the server.

Refusals arrive as the very classes of ``qmtl_worlds.contracts.errors``, by their code; the classes here are for what no
code of ours describes.

    SdkError
    ├── ServerUnreachableError   no whole reply came back in time
    ├── ReplyInvalidError        a reply that this client cannot read
    ├── StreamEndedError         the server ended a stream and said why
    ├── GateSettingsError        settings under which a gate could not stay open
    └── ResponseError            a refusal without a code that this client knows
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Final

from qmtl_worlds.contracts import errors as contracts
from qmtl_worlds.contracts.errors import PolicyInvalidError, WorldsError
from qmtl_worlds.contracts.faults import Fault
from qmtl_worlds.contracts.limit_errors import BodyTooLargeError, RateLimitedError, RequestTooSlowError

PROBLEM_PREFIX: Final = "urn:qmtl-worlds:"


class SdkError(Exception):
    """Something between this process and the server failed."""


class ServerUnreachableError(SdkError):
    """No whole reply came back in time; the server may or may not have acted."""


class ReplyInvalidError(SdkError):
    """The server sent something that is no reply of QMTL Worlds."""


class StreamEndedError(SdkError):
    """The server ended a stream: the token was revoked, or the world is gone. What it had permitted counts no more."""

    def __init__(self, reason: str) -> None:
        """Keep the server's word for why."""
        super().__init__(f"the server ended the stream: {reason}")
        self.reason = reason


class GateSettingsError(SdkError, ValueError):
    """Under these settings the lease would lapse while everything works."""


class ResponseError(SdkError):
    """The server refused, with a status or code that this client does not know."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        """Keep what the server said."""
        super().__init__(f"HTTP {status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail


def refusal(status: int, body: bytes) -> Exception:
    """Return the error that a reply with ``status`` (400 or above) and a problem document stands for.

    An unknown code becomes the nearest class by status, and without one a ``ResponseError``.
    """
    problem = _problem(body)
    code = str(problem.get("type", "")).removeprefix(PROBLEM_PREFIX)
    detail = str(problem.get("detail") or problem.get("title") or "The server gave no reason.")
    known = _BY_CODE.get(code) or _BY_STATUS.get(status)
    if known is None:
        return ResponseError(status, code or "unknown", detail)
    facts = {name: value for name, value in problem.items() if name not in _ENVELOPE}
    return _rebuild(known, detail, facts)


def _problem(body: bytes) -> Mapping[str, object]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _rebuild(kind: type[WorldsError], detail: str, facts: Mapping[str, object]) -> WorldsError:
    """Make an instance without its own constructor, which would write the sentence anew from facts it expects."""
    error = kind.__new__(kind)
    WorldsError.__init__(error, detail, **facts)
    if isinstance(error, PolicyInvalidError):
        error.faults = tuple(_faults(facts.get("faults")))
    return error


def _faults(value: object) -> Iterator[Fault]:
    for item in value if isinstance(value, list) else []:
        if isinstance(item, dict):
            place = [item.get(name) for name in ("line", "column")]
            line, column = (number if isinstance(number, int) else 1 for number in place)
            yield Fault(line, column, *(str(item.get(name, "")) for name in ("path", "code", "message")))


def _tree(kind: type[WorldsError]) -> Iterator[type[WorldsError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


_ENVELOPE: Final = frozenset({"type", "title", "status", "detail", "instance"})
_BY_CODE: Final = {kind.code: kind for kind in _tree(WorldsError)}
_BY_STATUS: Final[Mapping[int, type[WorldsError]]] = {
    403: contracts.NotAllowedError,
    404: contracts.NotFoundError,
    408: RequestTooSlowError,
    409: contracts.ConflictError,
    412: contracts.EtagMismatchError,
    413: BodyTooLargeError,
    422: contracts.InvalidError,
    429: RateLimitedError,
    503: contracts.UnavailableError,
}
