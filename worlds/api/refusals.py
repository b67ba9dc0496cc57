"""Refusals that come from a worker, raised again as what they were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from qmtl_worlds.contracts.errors import UnavailableError, WorldsError


def raise_refusal(told: Mapping[str, Any]) -> NoReturn:
    """Raise the error that a worker answered with: ``code``, ``detail`` and ``facts``.

    Raises:
        WorldsError: always.
    """
    kind = _BY_CODE.get(str(told["code"]), UnavailableError)
    error = kind.__new__(kind)
    # Not through its own constructor, which would write the sentence anew from facts it expects.
    WorldsError.__init__(error, str(told["detail"]), **told["facts"])
    raise error


def _tree(kind: type[WorldsError]) -> Iterator[type[WorldsError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


_BY_CODE = {kind.code: kind for kind in _tree(WorldsError)}
