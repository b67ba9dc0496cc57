"""How long a caller wants to wait."""

from __future__ import annotations

import re
from typing import Final

from rest_framework.request import Request

DEFAULT_SECONDS: Final = 0.25
LONGEST_SECONDS: Final = 10.0

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*(\d{1,6})(?:$|[,;\s])")


def seconds_to_wait(request: Request) -> float:
    """Return what ``Prefer: wait=N`` asks for, at most ten seconds; a quarter of one where it does not."""
    wanted = _WAIT.search(request.headers.get("Prefer", ""))
    return min(float(wanted[1]), LONGEST_SECONDS) if wanted else DEFAULT_SECONDS
