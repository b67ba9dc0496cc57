from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest
from django.db import IntegrityError, connection, transaction
from pytest_django import DjangoAssertNumQueries

from audit.chain import GENESIS, SYSTEM_CHAIN, kill_chain, row_hash
from audit.models import AuditEvent
from audit.recorder import record, record_all
from audit.stored import stored_heads
from audit.verification import verify_stored_chain
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import InputInvalidError
from tests.audit.factories import NOON, act, write_events


def write_and_undo(by: Act) -> None:
    """Record in a transaction that is rolled back."""
    with transaction.atomic():
        record(chain="w1", kind="world.updated", act=by)
        transaction.set_rollback(True)


@pytest.mark.django_db
def test_record_links_every_event_to_the_one_before() -> None:
    first, second = write_events(2)

    assert (first.seq, first.prev_hash) == (1, GENESIS)
    assert (second.seq, second.prev_hash) == (2, first.hash)
    assert stored_heads(["w1"])["w1"] == (2, second.hash)


@pytest.mark.django_db
def test_events_of_one_change_follow_each_other_in_the_chain() -> None:
    (before,) = write_events(1)

    with transaction.atomic():
        kinds = ("apply.requested", "apply.split", "apply.requested")
        events = record_all(chain="w1", act=act(), events=[{"kind": kind, "run_id": "run-1"} for kind in kinds])

    assert [(event.seq, event.kind) for event in events] == list(enumerate(kinds, 2))
    assert [event.prev_hash for event in events] == [before.hash, events[0].hash, events[1].hash]
    assert verify_stored_chain("w1", progress=lambda _count: None).finding is None
    assert stored_heads(["w1"])["w1"] == (4, events[-1].hash)


@pytest.mark.django_db
def test_one_event_that_is_no_event_keeps_the_others_of_its_change_out() -> None:
    with pytest.raises(ValueError, match="nonsense"), transaction.atomic():
        record_all(chain="w1", act=act(), events=[{"kind": "apply.requested"}, {"kind": "nonsense"}])

    assert not AuditEvent.objects.exists()


@pytest.mark.django_db
def test_record_stores_who_why_when_and_what() -> None:
    record(
        chain="w1",
        kind="strategy.bound",
        act=act(),
        subject="s1|long",
        before=None,
        after={"sector": "énergie", "weight": 0.25},
        run_id="run-1",
        policy_version=3,
    )

    event = AuditEvent.objects.get()
    assert (event.actor, event.reason, event.at, event.request_id) == ("person:alice", "because", NOON, "request-1")
    assert (event.subject, event.run_id, event.policy_version) == ("s1|long", "run-1", 3)
    assert (event.before, event.after) == (None, {"sector": "énergie", "weight": 0.25})
    assert row_hash(event.chain_row()) == event.hash


@pytest.mark.django_db
def test_record_numbers_each_chain_by_itself() -> None:
    chains = ("w1", kill_chain("w1"), "w2", SYSTEM_CHAIN)

    numbers = [record(chain=chain, kind="world.updated", act=act()).seq for chain in chains]

    assert numbers == [1, 1, 1, 1]


@pytest.mark.django_db
def test_record_of_a_rolled_back_change_leaves_no_row_and_no_gap() -> None:
    write_events(1)

    write_and_undo(act())
    write_events(1)

    assert list(AuditEvent.objects.values_list("seq", flat=True)) == [1, 2]
    assert verify_stored_chain("w1", progress=lambda _count: None).finding is None


@pytest.mark.django_db(transaction=True)
def test_record_outside_a_transaction_is_refused() -> None:
    with pytest.raises(transaction.TransactionManagementError, match="in the transaction of its change"):
        record(chain="w1", kind="world.created", act=act())

    assert not AuditEvent.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("value", "error"),
    [(float("nan"), ValueError), (float("inf"), ValueError), ("\ud800", ValueError), (object(), TypeError)],
)
def test_record_refuses_what_is_no_json(value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        record(chain="w1", kind="world.updated", act=act(), after={"value": value})

    assert not AuditEvent.objects.exists()


@pytest.mark.django_db
def test_record_refuses_an_unregistered_kind() -> None:
    with pytest.raises(ValueError, match=r"audit/events\.py"):
        record(chain="w1", kind="world.exploded", act=act())


@pytest.mark.django_db
def test_record_refuses_a_naive_time() -> None:
    with pytest.raises(ValueError, match="aware"):
        record(chain="w1", kind="world.created", act=replace(act(), now=NOON.replace(tzinfo=None)))


@pytest.mark.django_db
@pytest.mark.parametrize("subject", ["a\x00b", "x" * 201])
def test_record_refuses_a_text_that_postgresql_would_refuse(subject: str) -> None:
    with pytest.raises(InputInvalidError, match="subject"):
        record(chain="w1", kind="world.created", act=act(), subject=subject)


@pytest.mark.django_db
def test_record_keeps_control_characters_of_values() -> None:
    record(chain="w1", kind="world.updated", act=act(), after={"note": "a\x00b\n"})

    assert AuditEvent.objects.get().after == {"note": "a\x00b\n"}


@pytest.mark.django_db
def test_record_masks_credentials() -> None:
    token = "qw_runner_4f2a_" + "s3cr3t" * 6

    event = record(
        chain="w1",
        kind="world.updated",
        act=act(reason=f"rotated {token}"),
        after={
            "dsn": "x",
            "token": token,
            "url": "postgres://user:hunter2@db/x",
            "rows": [{"note": f"see {token}!"}],
        },
    )

    assert event.reason == "rotated [redacted]"
    assert event.after == {
        "dsn": "[redacted]",
        "token": "[redacted]",
        "url": "postgres://[redacted]@db/x",
        "rows": [{"note": "see [redacted]!"}],
    }


@pytest.mark.django_db
def test_record_costs_three_statements(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    write_events(1)

    with django_assert_num_queries(3):
        write_events(1)


@pytest.mark.django_db
def test_record_after_another_writer_moved_the_head_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    write_events(2)
    stale = (1, AuditEvent.objects.get(seq=1).hash)
    monkeypatch.setattr("audit.recorder._locked_head", lambda _chain: stale)

    with pytest.raises(IntegrityError), transaction.atomic():
        write_events(1)

    assert AuditEvent.objects.count() == 2


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run ``work(number)`` in ``count`` threads that start together, each with its own connection."""
    start = Barrier(count)

    def run(number: int) -> None:
        start.wait()
        try:
            work(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(run, range(count)))


@pytest.mark.django_db(transaction=True)
def test_concurrent_writers_leave_one_chain_without_gap() -> None:
    def write(number: int) -> None:
        for turn in range(10):
            by = act(f"person:{number}")
            if turn % 3 == number % 3:
                write_and_undo(by)
            else:
                with transaction.atomic():
                    record(chain="w1", kind="world.updated", act=by, after=turn)

    in_threads(4, write)

    report = verify_stored_chain("w1", progress=lambda _count: None)
    rolled_back = sum(turn % 3 == number % 3 for number in range(4) for turn in range(10))
    assert (report.count, report.finding) == (40 - rolled_back, None)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_kill_does_not_wait_for_the_chain_of_its_world() -> None:
    with transaction.atomic():
        record(chain="w1", kind="world.updated", act=act())

        def kill(_number: int) -> None:
            with transaction.atomic():
                record(chain=kill_chain("w1"), kind="gate.killed", act=act())

        in_threads(1, kill)
        assert AuditEvent.objects.filter(chain="w1!kill").count() == 1
