from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import IntegrityError

from audit.models import AuditEvent, AuditRun, AuditRunState, HighlightKind, RunKind
from audit.runs import RunStart, fail_run, finish_run, start_run
from audit.selectors import find_chunk, find_newest_run, find_run, get_run, list_highlights, list_runs
from qmtl_worlds.contracts.digests import canonical_json, digest_bytes
from qmtl_worlds.contracts.errors import RunNotFoundError, RunStateError
from tests.audit.factories import CHUNKS, NOON, act, finished_run, outcome, running_run

pytestmark = pytest.mark.django_db


def test_start_run_twice_finds_the_first_one() -> None:
    start = RunStart("w1", "run-1", RunKind.SCHEDULED, NOON, "0.1.0", slot=NOON)

    first, made = start_run(start=start, act=act())
    second, made_again = start_run(start=start, act=act(minute=5))

    assert (made, made_again) == (True, False)
    assert second == first
    assert (second.state, second.verdict, second.started_at, second.slot) == ("running", "", NOON, NOON)
    assert not AuditEvent.objects.exists()


def test_run_ids_belong_to_their_world() -> None:
    assert running_run(world_id="w1") != running_run(world_id="w2")


def test_finished_run_holds_what_was_decided() -> None:
    finished_run()

    run = get_run(world_id="w1", run_id="run-1")
    decision = canonical_json({"topk": ["a|long"], "weights": {"a|long": 0.1}})
    assert (run.state, run.verdict, run.policy_version, run.instance_count) == ("ok", "ok", 3, 12)
    assert run.decision_bytes() == decision
    assert run.decision_digest == digest_bytes(decision)
    assert run.inputs == {"blocks": [[1, 4]]}
    assert run.finished_at == NOON + timedelta(minutes=1)
    assert list_highlights(run=run, kind=HighlightKind.PROMOTED) == ("a|long", "c|long")


def test_finished_run_is_recorded_in_the_chain_of_its_world() -> None:
    run = finished_run()

    event = AuditEvent.objects.get()
    assert (event.chain, event.kind, event.run_id, event.policy_version) == ("w1", "evaluation.recorded", "run-1", 3)
    assert isinstance(event.after, dict)
    assert event.after["decision_digest"] == run.decision_digest


def test_finished_run_cannot_be_closed_again() -> None:
    run = finished_run()

    with pytest.raises(RunStateError, match="is ok"):
        finish_run(run=run, outcome=outcome(AuditRunState.INCONCLUSIVE), act=act(minute=2))
    with pytest.raises(RunStateError, match="is ok"):
        fail_run(run=run, error="too late", act=act(minute=2))

    assert AuditRun.objects.get().state == "ok"
    assert AuditEvent.objects.count() == 1


def test_finish_run_with_an_error_is_refused() -> None:
    with pytest.raises(ValueError, match="does not finish as error"):
        finish_run(run=running_run(), outcome=outcome(AuditRunState.ERROR), act=act())


def test_failed_run_says_why_without_secrets() -> None:
    run = fail_run(run=running_run(), error="no route to redis://user:hunter2@cache", act=act(minute=1))

    stored = AuditRun.objects.get()
    assert (stored.state, stored.error) == ("error", "no route to redis://[redacted]@cache")
    assert stored.decision_bytes() == b""
    assert AuditEvent.objects.get().kind == "evaluation.failed"
    assert run.finished_at == NOON + timedelta(minutes=1)


def test_finishing_leaves_nothing_where_its_transaction_fails() -> None:
    run = running_run()
    twice = replace(outcome(), chunks=(CHUNKS[0], CHUNKS[0]))

    with pytest.raises(IntegrityError):
        finish_run(run=run, outcome=twice, act=act())

    assert AuditRun.objects.get().state == "running"
    assert not AuditEvent.objects.exists()
    assert find_chunk(run=run, key="a|long") is None


@pytest.mark.parametrize(
    ("key", "data"),
    [("a|long", b"first"), ("d|long", b"first"), ("f|short", b"first"), ("g|long", b"second"), ("z|long", b"second")],
)
def test_find_chunk_returns_the_chunk_that_covers_the_key(key: str, data: bytes) -> None:
    assert find_chunk(run=finished_run(), key=key) == data


@pytest.mark.parametrize("key", ["A|long", "f|shorty", "~|long"])
def test_find_chunk_of_an_uncovered_key_is_none(key: str) -> None:
    assert find_chunk(run=finished_run(), key=key) is None


def test_find_newest_run_skips_what_decided_nothing() -> None:
    finished_run("run-1")
    finish_run(run=running_run("run-2"), outcome=outcome(AuditRunState.INCONCLUSIVE), act=act())
    running_run("run-3")
    fail_run(run=running_run("run-4"), error="no data", act=act())
    start = RunStart("w1", "run-5", RunKind.ADVISORY, NOON, "0.1.0")
    finish_run(run=start_run(start=start, act=act())[0], outcome=outcome(), act=act())
    finished_run("run-6", world_id="w2")

    newest = find_newest_run(world_id="w1")

    assert newest is not None
    assert newest.run_id == "run-1"
    assert find_newest_run(world_id="w3") is None


def test_list_runs_is_newest_first_and_goes_on_where_it_ended() -> None:
    for number in range(1, 4):
        finished_run(f"run-{number}")

    first = list_runs(world_id="w1", limit=2)
    rest = list_runs(world_id="w1", limit=2, before_pk=first[-1].pk)

    assert [run.run_id for run in (*first, *rest)] == ["run-3", "run-2", "run-1"]


def test_get_run_of_another_world_is_not_found() -> None:
    finished_run(world_id="w1")

    assert find_run(world_id="w2", run_id="run-1") is None
    with pytest.raises(RunNotFoundError):
        get_run(world_id="w2", run_id="run-1")
