"""HTTP/1.1 answers out of bytes, for connections that asyncio reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

MAX_HEAD_BYTES: Final = 65_536
_STATUS_PARTS: Final = 2


class TextError(ValueError):
    """The bytes are no HTTP."""


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers of an answer; names are lower case, of a name that comes twice the last counts."""

    status: int
    headers: Mapping[str, str]


def read_head(data: bytes) -> Head:
    """Read what stands before the body.

    Raises:
        TextError: it is none.
    """
    first, *lines = data.decode("latin-1").rstrip("\r\n").split("\r\n")
    parts = first.split(" ", 2)
    if not first.startswith("HTTP/1.") or len(parts) < _STATUS_PARTS or not parts[1].isdecimal():
        raise TextError(f"{first[:80]!r} is no status line")
    fields = [line.partition(":") for line in lines]
    return Head(int(parts[1]), {name.strip().lower(): value.strip() for name, _, value in fields})


class _State(Enum):
    SIZE = auto()
    DATA = auto()
    GAP = auto()
    TRAILER = auto()
    OVER = auto()


class Body:
    """Takes the transfer encoding off; ``is_over`` tells whether the whole body was read."""

    def __init__(self, head: Head) -> None:
        """Begin behind ``head``.

        Raises:
            TextError: its length is no number.
        """
        self._is_chunked = "chunked" in head.headers.get("transfer-encoding", "").lower()
        length = head.headers.get("content-length", "0" if head.status in {204, 304} else "")
        if length and not length.isdecimal():
            raise TextError(f"{length[:80]!r} is no length")
        self._left = int(length) if length and not self._is_chunked else None
        self._state = _State.SIZE
        self._rest = b""
        self.needs_end = self._left is None and not self._is_chunked
        """Whether only the end of the connection ends the body."""

    @property
    def is_over(self) -> bool:
        """Tell whether nothing is left."""
        return self._state is _State.OVER or (self._left == 0 and not self._is_chunked)

    def feed(self, data: bytes) -> bytes:
        """Return the part of the body that ``data`` completes.

        Raises:
            TextError: the chunks are malformed.
        """
        if self._is_chunked:
            return self._chunks(data)
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        return data

    def _chunks(self, data: bytes) -> bytes:
        self._rest += data
        found = []
        while (part := self._next()) is not None:
            found.append(part)
        return b"".join(found)

    def _next(self) -> bytes | None:
        """Take one step through the rest; None where more has to come first."""
        if self._state is _State.DATA:
            return self._data()
        if self._state is _State.OVER:
            return None
        line, found, rest = self._rest.partition(b"\r\n")
        if not found:
            if len(self._rest) > MAX_HEAD_BYTES:
                raise TextError("a line between chunks does not end")
            return None
        self._rest = rest
        self._step(line)
        return b""

    def _step(self, line: bytes) -> None:
        if self._state is _State.SIZE:
            size, _, _ = line.partition(b";")
            self._left = _hexadecimal(size.strip())
            self._state = _State.DATA if self._left else _State.TRAILER
        elif self._state is _State.GAP:
            if line:
                raise TextError("a chunk is longer than it says")
            self._state = _State.SIZE
        elif not line:
            self._state = _State.OVER

    def _data(self) -> bytes | None:
        if not self._rest:
            return None
        left = self._left or 0
        part, self._rest = self._rest[:left], self._rest[left:]
        self._left = left - len(part)
        if not self._left:
            self._state = _State.GAP
        return part


def _hexadecimal(text: bytes) -> int:
    if not text or len(text) > 8 or text.strip(b"0123456789abcdefABCDEF"):  # noqa: PLR2004 - eight digits are 4 GiB
        raise TextError(f"{text[:80]!r} is no chunk size")
    return int(text, 16)
