"""Where a defect stops: threads that gates depend on must live on, and what failed renews nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_log = logging.getLogger(__name__)


def guarded(work: Callable[[], T], *, what: str, failed: Callable[[Exception], T]) -> T:
    """Return what ``work`` does, or what ``failed`` makes of a defect, which is logged as that ``what`` went wrong."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - the boundary; it logs
        _log.exception("%s went wrong", what)
        return failed(error)
