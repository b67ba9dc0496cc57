from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from audit.chain import SYSTEM_CHAIN, kill_chain
from audit.models import AuditEvent
from audit.recorder import record
from audit.selectors import EventFilter, list_events
from qmtl_worlds.contracts.errors import InputInvalidError
from tests.audit.factories import NOON, act, finished_run, write_events

pytestmark = pytest.mark.django_db
EVERYTHING = EventFilter()


def kill() -> AuditEvent:
    return record(chain=kill_chain("w1"), kind="gate.killed", act=act("person:bob", minute=30))


def walk(limit: int) -> list[AuditEvent]:
    """Read all pages of world w1."""
    page = list_events(chain="w1", wanted=EVERYTHING, limit=limit)
    events = list(page.events)
    while page.next_cursor:
        page = list_events(chain="w1", wanted=EVERYTHING, limit=limit, cursor=page.next_cursor)
        events += page.events
    return events


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
def test_pages_of_a_world_hold_every_event_and_kill_once_newest_first(limit: int) -> None:
    written = [*write_events(2), kill(), kill(), *write_events(2), kill()]
    write_events(3, chain="w2")

    assert walk(limit) == written[::-1]


def test_event_written_between_two_pages_moves_nothing() -> None:
    written = write_events(4)
    first = list_events(chain="w1", wanted=EVERYTHING, limit=2)

    kill()
    write_events(1)
    second = list_events(chain="w1", wanted=EVERYTHING, limit=2, cursor=first.next_cursor)

    assert (*first.events, *second.events) == written[::-1]


def test_filters_narrow_the_events() -> None:
    write_events(3)
    killed = kill()
    evaluated = finished_run("run-7")

    def found(**wanted: Any) -> list[str]:
        wanted_events = replace(EVERYTHING, **wanted)
        return [event.kind for event in list_events(chain="w1", wanted=wanted_events).events]

    assert found(kind="gate") == found(kind="gate.killed") == found(actor="person:bob") == [killed.kind]
    assert found(run_id=evaluated.run_id) == ["evaluation.recorded"]
    assert found(kind="gat") == []
    assert found(since=NOON + timedelta(minutes=2)) == ["gate.killed", "world.updated"]
    assert len(found(request_id="request-1")) == 5


def test_system_chain_can_be_listed() -> None:
    event = record(chain=SYSTEM_CHAIN, kind="access.token_created", act=act())

    assert list_events(chain=SYSTEM_CHAIN, wanted=EVERYTHING).events == (event,)


@pytest.mark.parametrize("cursor", ["x", "1", "1.2.3", "-1.", "1" * 19 + ".", "\u0661."])
def test_foreign_cursor_is_invalid(cursor: str) -> None:
    with pytest.raises(InputInvalidError, match="cursor"):
        list_events(chain="w1", wanted=EVERYTHING, cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1, 501])
def test_limit_out_of_range_is_invalid(limit: int) -> None:
    with pytest.raises(InputInvalidError, match="limit"):
        list_events(chain="w1", wanted=EVERYTHING, limit=limit)
