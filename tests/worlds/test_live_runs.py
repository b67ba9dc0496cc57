from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError

from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.states import RunState
from tests.worlds.factories import make_world
from worlds.models import ApplyRun
from worlds.work import live_runs
from worlds.work.live_runs import MARGIN_SECONDS, seconds_until_due, start_carrying

NOW = datetime(2026, 3, 1, tzinfo=UTC)
EVERY = 1.0


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("runs", "pause"),
    [
        ([], EVERY),
        ([ApplyRun(state=RunState.DONE, lease_until=after(0.1))], EVERY),
        ([ApplyRun(state=RunState.FROZEN, lease_until=after(0.3))], 0.3 + MARGIN_SECONDS),
        ([ApplyRun(state=RunState.FROZEN, lease_until=after(3))], EVERY),
        ([ApplyRun(state=RunState.DRAINING, drain_until=after(0.5))], 0.5 + MARGIN_SECONDS),
        ([ApplyRun(state=RunState.DRAINING, drain_until=after(0.5), lease_until=after(0.2))], 0.2 + MARGIN_SECONDS),
        ([ApplyRun(state=RunState.DRAINING, drain_until=after(-0.1))], EVERY / 4),
        ([ApplyRun(state=RunState.FROZEN, drain_until=after(-0.1))], EVERY),
        ([ApplyRun(state=RunState.QUEUED), ApplyRun(state=RunState.FROZEN, lease_until=after(0.3))], 0.31),
    ],
)
def test_runs_are_looked_at_when_a_lease_or_a_drain_ends(runs: list[ApplyRun], pause: float) -> None:
    assert seconds_until_due(runs, now=NOW, every=EVERY) == pytest.approx(pause)


def queue(run: ApplyRun, **fields: Any) -> ApplyRun:
    """Store a copy of a run that waits to be carried on."""
    copy = ApplyRun.objects.get(pk=run.pk)
    for name, value in ({"pk": None, "state": RunState.QUEUED} | fields).items():
        setattr(copy, name, value)
    copy.save()
    return copy


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have runs noted instead of carried on."""
    seen: list[str] = []
    monkeypatch.setattr(live_runs, "advance", lambda *, run_id, **_words: seen.append(run_id))
    return seen


@pytest.mark.django_db
def test_what_only_takes_away_is_carried_on_before_what_gives(waiting: ApplyRun, seen: list[str]) -> None:
    queue(waiting, run_id="gives")
    queue(waiting, run_id="takes away", kind=ApplyRun.Kind.REDUCE)

    live_runs.carry_on(act=Act("system", "tick", NOW))

    assert seen == ["takes away", "gives"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("turns", "order"), [((0.1, 0.9), ["w1 first", "w1 second", "w2"]), ((0.9, 0.1), ["w2", "w1 first", "w1 second"])]
)
def test_worlds_take_turns_and_the_runs_of_one_keep_their_order(
    turns: tuple[float, float], order: list[str], waiting: ApplyRun, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_runs, "random", iter(turns).__next__)
    for run_id, world in (("w1 first", waiting.world), ("w2", make_world("w2")), ("w1 second", waiting.world)):
        queue(waiting, run_id=run_id, kind=ApplyRun.Kind.REDUCE, world=world)

    live_runs.carry_on(act=Act("system", "tick", NOW))

    assert seen == order


def test_thread_asks_for_a_restore_before_it_carries_runs_on_and_outlives_a_database_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopped, seen = threading.Event(), []

    def compare(**_words: Any) -> None:
        seen.append("compared")

    def carry(*, act: Act) -> list[ApplyRun]:
        seen.append(act.reason)
        if len(seen) == 2:
            raise OperationalError("gone")
        stopped.set()
        return []

    monkeypatch.setattr(live_runs, "act_of_system", lambda *, reason: Act("system", reason, NOW))
    monkeypatch.setattr(live_runs, "close_restored", compare)
    monkeypatch.setattr(live_runs, "carry_on", carry)

    thread = start_carrying(stopped, every=0.01)
    thread.join(timeout=30)

    assert not thread.is_alive()
    assert thread.daemon
    assert seen == ["compared", "tick", "compared", "tick"]
