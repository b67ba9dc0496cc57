from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.stateful_clock import Clock, ruled_by
from tests.faults.stateful_ground import Ground, make_ground


@pytest.fixture
def clock() -> Iterator[Clock]:
    """The time of the database and of the process, which moves only when a test moves it."""
    clock = Clock()
    with ruled_by(clock):
        yield clock


@pytest.fixture
def ground(clock: Clock) -> Ground:
    """People, and a world with policies and strategies, made at the clock's time."""
    return make_ground()
