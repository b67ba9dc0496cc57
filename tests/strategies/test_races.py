from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest
from django.db import connection, transaction

from strategies.models import BarBlock, TailRow
from strategies.services.revision import pin_revision
from tests.strategies.factories import append, bars_of, bind, loaded, series, world
from worlds.work.seal import seal_tail

pytestmark = pytest.mark.django_db(transaction=True)


def closing(work: Callable[[], object]) -> object:
    """Do something in a thread and give its connection back."""
    try:
        return work()
    finally:
        connection.close()


def wait_until_blocked(future: Future[object]) -> None:
    """Return once a backend waits for a lock, or the future is done."""
    with connection.cursor() as cursor:
        while not future.done():
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            if cursor.fetchone()[0]:
                return


@pytest.mark.slow
def test_the_same_bars_from_many_callers_are_stored_once() -> None:
    world()
    ids = bind("a")
    rows = series({1: 0.1, 2: 0.2, 3: 0.3})

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(closing, [partial(append, "a", rows)] * 8))

    assert len(results) == 8
    assert TailRow.objects.count() == 3
    assert bars_of(loaded(ids), 0) == {1: 0.1, 2: 0.2, 3: 0.3}


@pytest.mark.slow
def test_two_sealers_move_every_bar_once() -> None:
    world()
    ids = bind("a", "b")
    append("a", series({1: 0.1, 2: 0.2}))
    append("b", series({1: 0.3}))
    before = loaded(ids).digest(verifies=True)

    with ThreadPoolExecutor(2) as pool:
        moved = list(pool.map(closing, [partial(seal_tail, world_id="w1", before=2**40)] * 2))

    assert sorted(moved, key=str) == [0, 3]
    assert BarBlock.objects.count() == 2
    assert loaded(ids).digest(verifies=True) == before


@pytest.mark.postgres
@pytest.mark.slow
def test_a_recorded_evaluation_waits_for_the_appends_under_way() -> None:
    world()
    ids = bind("a")

    def evaluate() -> tuple[int, str]:
        revision = pin_revision(world_id="w1")
        return revision, loaded(ids, revision=revision).digest(verifies=True)

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            append("a", series({1: 0.1}))
            evaluation = pool.submit(closing, evaluate)
            wait_until_blocked(evaluation)
        recorded = evaluation.result()

    append("a", series({2: 0.2}))
    assert recorded == (1, loaded(ids, revision=1).digest(verifies=True))
    assert bars_of(loaded(ids, revision=1), 0) == {1: 0.1}
