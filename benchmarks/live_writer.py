"""Changes the small world as it is told on standard input, and says when each change was committed (monotonic ns)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Final

from django.db import transaction

from benchmarks.servers import SMALL
from qmtl_worlds.contracts.acts import Act
from worlds.services.authority import act_of_shell
from worlds.services.holds import freeze, unfreeze
from worlds.services.kills import kill

VERBS: Final[Mapping[str, Callable[[Act], object]]] = {
    "freeze": lambda act: freeze(world_id=SMALL, act=act),
    "unfreeze": lambda act: unfreeze(world_id=SMALL, act=act),
    "kill": lambda act: kill(world_id=SMALL, scope="", act=act),
}


def committed_at(verb: str) -> int:
    """Make the change, and return when it was committed, before anything that follows a commit."""
    moments: list[int] = []
    with transaction.atomic():
        transaction.on_commit(lambda: moments.append(time.monotonic_ns()))
        VERBS[verb](act_of_shell(reason="benchmark"))
    return moments[0]


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(f"{committed_at(line.strip())}\n")
        sys.stdout.flush()
