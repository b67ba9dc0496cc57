"""Server-sent events, taken out of bytes as they arrive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from qmtl_worlds.sdk.errors import ReplyInvalidError

MAX_EVENT_BYTES: Final = 1024 * 1024
"""A longer event is none of ours; the memory of a reader is bounded."""
MAX_RETRY_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event; fields that were not sent are empty."""

    kind: str
    id: str
    data: str


class EventParser:
    """Cuts one stream into events; a new connection needs a new parser.

    ``retry_ms`` is how long the server wants to be left alone after this connection, None while it has not said.
    """

    def __init__(self) -> None:
        """Begin with nothing read."""
        self.retry_ms: int | None = None
        self._rest = b""
        self._fields: dict[str, list[str]] = {}
        self._size = 0

    def feed(self, data: bytes) -> list[ServerEvent]:
        """Take in what arrived and return the events that it completes, in order.

        Raises:
            ReplyInvalidError: an event is too long or no UTF-8.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._size += len(data)
        events = [event for line in lines if (event := self._take(line.removesuffix(b"\r"))) is not None]
        if self._size > MAX_EVENT_BYTES:
            raise ReplyInvalidError(f"an event is longer than {MAX_EVENT_BYTES} bytes")
        return events

    def _take(self, line: bytes) -> ServerEvent | None:
        if not line:
            return self._finish()
        try:
            name, _, value = line.decode().partition(":")
        except UnicodeDecodeError as error:
            raise ReplyInvalidError("an event is no UTF-8") from error
        self._fields.setdefault(name, []).append(value.removeprefix(" "))
        return None

    def _finish(self) -> ServerEvent | None:
        fields, self._fields, self._size = self._fields, {}, len(self._rest)
        for text in fields.get("retry", ()):
            if text.isdecimal() and text.isascii():
                self.retry_ms = min(int(text[:9]), MAX_RETRY_MS)
        if "data" not in fields:
            return None
        kind, last_id = (fields.get(name, [""])[-1] for name in ("event", "id"))
        return ServerEvent(kind, last_id, "\n".join(fields["data"]))
