"""Everyone that an evaluation judged, a page at a time, and those whose key holds what was searched for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final
from urllib.parse import urlencode

from audit.models import AuditChunk, AuditRun
from qmtl_worlds.contracts.decision_record import chunk_keys
from qmtl_worlds.contracts.errors import InvalidError

KEYS_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class KeysPage:
    """Some keys in order; ``following`` asks for the next ones, empty at the end. An unreadable run has none."""

    keys: tuple[str, ...]
    wanted: str
    following: str
    is_first: bool
    readable: bool = True


def keys_page(run: AuditRun, *, wanted: str, after: str) -> KeysPage:
    """Return the keys behind ``after`` that contain ``wanted``, in either case of letters."""
    is_first = not after
    try:
        found = tuple(islice(_matching(run, wanted.strip().casefold(), after), KEYS_SHOWN + 1))
    except InvalidError:
        return KeysPage((), wanted, "", is_first, readable=False)
    shown = found[:KEYS_SHOWN]
    more = len(found) > KEYS_SHOWN
    return KeysPage(shown, wanted, urlencode({"q": wanted, "after": shown[-1]}) if more else "", is_first)


def _matching(run: AuditRun, wanted: str, after: str) -> Iterator[str]:
    """Yield the keys in the order of their code points, whatever order the database sorts texts in."""
    ranges = AuditChunk.objects.filter(run=run).order_by().values_list("first_key", "last_key", "pk")
    for _, last, pk in sorted(ranges):
        if last > after:
            data = AuditChunk.objects.values_list("data", flat=True).get(pk=pk)
            yield from (key for key in chunk_keys(bytes(data)) if key > after and wanted in key.casefold())
