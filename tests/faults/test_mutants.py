"""What the harnesses are worth: each known way to get it wrong, and who finds it."""

from __future__ import annotations

import pytest

from formal import mutants
from formal.patches import MEANINGS, patched
from tests.faults.simulator import simulate
from tests.faults.simulator_mutants import MUTANTS
from tests.faults.simulator_rows import BrokenInvariantError

MOST_SEEDS = 400
BOTH = frozenset({"explorer", "simulator"})
KILLED_BY = dict.fromkeys(MEANINGS, BOTH) | {"B15": frozenset({"simulator"})}
"""The explorer has one clock, so it cannot see a clock jump."""


def simulator_finds(name: str) -> bool:
    with patched(MUTANTS[name]):
        for seed in range(MOST_SEEDS):
            try:
                simulate(seed)
            except BrokenInvariantError:
                return True
    return False


def killers(name: str) -> frozenset[str]:
    found = {"simulator"} if simulator_finds(name) else set()
    if name in mutants.MUTANTS and mutants.search(name).violation:
        found.add("explorer")
    return frozenset(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", MEANINGS)
def test_every_known_way_to_get_it_wrong_is_found(name: str) -> None:
    assert killers(name) == KILLED_BY[name], MEANINGS[name]
