from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from unittest.mock import Mock

import pytest
import redis
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection

from audit.chain import kill_chain
from audit.models import AuditEvent
from tests.worlds.factories import act_of, add_strategy, make_world, person, put_policy
from tests.worlds.kill_steps import follow_up, gate_of
from tests.worlds.steps import BETTER, GOOD, first_apply
from worlds.admin.gates import gates_of
from worlds.models import GateHold, World
from worlds.services import kills
from worlds.services.activation import activation_of
from worlds.services.kills import allow_flattening, kill, record_filed
from worlds.stores import kill_file
from worlds.stores.clock import database_now


@pytest.fixture(autouse=True)
def _only_where_files_are_used() -> Iterator[None]:
    """SQLite's own; on PostgreSQL no file is ever looked at."""
    yield
    for file in Path(settings.DATA_DIR).glob("kills/*"):
        file.unlink()


@pytest.fixture
def applied(world: World, alice: User, bob: User) -> World:
    first_apply(world, alice, bob)
    return world


def drop(world: World, user: User, scope: str = "") -> None:
    kill_file.drop(world_id=world.id, scope=scope, act=act_of(user, "fire"))


@pytest.mark.django_db
def test_file_alone_closes_the_gate_and_forbids_promotions(applied: World, alice: User) -> None:
    drop(applied, alice)

    if not kill_file.are_used():
        assert gate_of(applied) == ("open", "active")
        return
    assert gate_of(applied) == ("closed", "killed")
    assert gates_of([applied], now=database_now())[applied.id].gate.reason == "killed"


@pytest.mark.django_db
def test_file_of_an_instance_closes_that_one_only(applied: World, alice: User) -> None:
    drop(applied, alice, GOOD.text)

    assert activation_of(world_id=applied.id, key=BETTER).envelope.active
    assert (gate_of(applied) == ("closed", "killed")) == kill_file.are_used()


@pytest.mark.django_db
def test_kill_whose_file_takes_no_word_closes_the_whole_world(
    applied: World, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kill_file.are_used():
        pytest.skip("files are SQLite's")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", Mock(side_effect=[full, None]))
        drop(applied, alice, GOOD.text)

    assert gate_of(applied) == ("closed", "killed")
    assert [path.stat().st_size for path in kill_file.filed_kills()[0].path.parent.iterdir()] == [0]


@pytest.mark.django_db
def test_tick_records_what_a_dead_process_left_and_takes_the_file_away(applied: World, alice: User) -> None:
    if not kill_file.are_used():
        pytest.skip("files are SQLite's")
    drop(applied, alice)

    follow_up()
    follow_up()

    event = AuditEvent.objects.get(chain=kill_chain(applied.id))
    assert (event.kind, event.actor, event.reason) == ("gate.kill_recovered", "person:alice", "fire")
    assert kill_file.filed_kills() == ()
    assert gate_of(applied) == ("closed", "killed")


@pytest.mark.django_db
def test_crash_between_row_and_removal_records_the_kill_once(
    applied: World, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(kill_file, "remove", lambda _filed: None)
        kill(world_id=applied.id, act=act_of(alice, "fire"))

    follow_up()

    assert AuditEvent.objects.filter(chain=kill_chain(applied.id)).count() == 1
    assert GateHold.objects.count() == 1
    assert kill_file.filed_kills() == ()


@pytest.mark.django_db
@pytest.mark.parametrize("content", ["", "{", '{"scope": "../x", "actor": "a"}', "\x00\xff"])
def test_file_that_cannot_be_read_kills_its_world(applied: World, content: str) -> None:
    if not kill_file.are_used():
        pytest.skip("files are SQLite's")
    folder = Path(settings.DATA_DIR) / "kills"
    folder.mkdir(exist_ok=True)
    (folder / f"{applied.id}.kill").write_text(content)

    closed = gate_of(applied)
    record_filed()

    assert closed == gate_of(applied) == ("closed", "killed")
    assert GateHold.objects.get().owner == kill_file.BY_HAND


@pytest.mark.django_db
def test_file_of_a_world_that_does_not_exist_goes(world: World, alice: User) -> None:
    kill_file.drop(world_id="w9", scope="", act=act_of(alice))

    follow_up()

    assert not GateHold.objects.exists()
    assert kill_file.filed_kills() == ()


@pytest.mark.django_db
def test_flattening_records_the_file_first_so_that_it_closes_nothing_again(applied: World, alice: User) -> None:
    drop(applied, alice)

    allow_flattening(world_id=applied.id, act=act_of(person("rita", "risk")))

    if kill_file.are_used():
        assert gate_of(applied) == ("reduce_only", "killed")


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
def test_kill_while_somebody_holds_the_writer_closes_by_file_and_is_recorded_later(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not kill_file.are_used():
        pytest.skip("files are SQLite's")
    alice, bob = person("alice", "operator", "author"), person("bob", "approver")
    world = make_world()
    put_policy(world, author=alice, approver=bob)
    add_strategy(world, "good", quality=3)
    add_strategy(world, "better", quality=6)
    first_apply(world, alice, bob)
    act = act_of(alice, "fire")
    monkeypatch.setattr(kills, "WRITER_WAIT_MS", 10)
    with closing(sqlite3.connect(str(connection.settings_dict["NAME"]), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        killed = kill(world_id=world.id, act=act)
        with pytest.raises(SystemExit) as ended:
            call_command("world_kill", world.id, "--reason", "fire")
        closed = gate_of(world)
        other.execute("ROLLBACK")

    follow_up()

    assert not killed.recorded
    assert ended.value.code == 3
    assert "Killed by a file" in capsys.readouterr().out
    assert closed == gate_of(world) == ("closed", "killed")
    assert sorted(GateHold.objects.values_list("owner", flat=True)) == ["person:alice", "shell"]
    assert AuditEvent.objects.filter(kind="gate.kill_recovered").count() == 2
