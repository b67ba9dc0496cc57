from __future__ import annotations

from collections import Counter

import pytest

from formal.patches import patched
from tests.faults.extended import only_extended
from tests.faults.simulator import simulate
from tests.faults.simulator_mutants import MUTANTS
from tests.faults.simulator_rows import BrokenInvariantError

BLOCK = 500
LONG_BLOCK = 2500


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_schedules_with_faults_keep_the_invariants_and_end(block: int) -> None:
    ends: Counter[str] = Counter()
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        ends.update(simulate(seed).states)

    assert ends["done"] > BLOCK
    assert ends["rolled_back"] > 10


@only_extended
@pytest.mark.slow
@pytest.mark.parametrize("block", range(2, 20))
def test_many_more_schedules_keep_the_invariants_and_end(block: int) -> None:
    endings = [simulate(seed) for seed in range(block * LONG_BLOCK, (block + 1) * LONG_BLOCK)]

    assert len(endings) == LONG_BLOCK


def test_end_may_be_late_by_as_much_as_the_databases_clock_was_set_back() -> None:
    clock_is_set_back_by_twelve_seconds = 623188

    assert simulate(clock_is_set_back_by_twelve_seconds).states == ["done"]


def test_seed_gives_the_same_history_again() -> None:
    assert simulate(7) == simulate(7)
    assert simulate(7) != simulate(8)


def test_failure_names_its_seed_and_replays() -> None:
    with patched(MUTANTS["B11"]):
        with pytest.raises(BrokenInvariantError) as first:
            simulate(3)
        with pytest.raises(BrokenInvariantError) as again:
            simulate(3)

    assert str(first.value).startswith("seed 3: I1c ")
    assert str(again.value) == str(first.value)
