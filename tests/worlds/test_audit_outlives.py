from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from audit.chain import kill_chain
from audit.recorder import record
from audit.selectors import EventFilter, get_run, list_events
from tests.audit.commands import export, verify
from tests.audit.factories import finished_run
from tests.audit.signed import checkpoint
from tests.worlds.factories import make_world, person, shell
from worlds.models import OutboxEvent, StreakState, World
from worlds.services.registry import archive_world

pytestmark = pytest.mark.django_db


@pytest.fixture
def auditor() -> User:
    """Reads the audit of every world."""
    return person("carol", "auditor")


@pytest.fixture
def gone() -> str:
    """The id of a world that was archived, and whose row is gone."""
    world = make_world("w1")
    finished_run(world_id="w1")
    record(chain=kill_chain("w1"), kind="gate.killed", act=shell())
    archive_world(world_id="w1", act=shell())
    OutboxEvent.objects.filter(world=world).delete()
    StreakState.objects.filter(world=world).delete()
    World.objects.filter(id="w1").delete()
    return world.id


def test_chain_of_a_world_that_is_gone_can_be_read(gone: str) -> None:
    page = list_events(chain=gone, wanted=EventFilter())

    kinds = [event.kind for event in page.events]
    assert not World.objects.filter(id=gone).exists()
    assert sorted(kinds) == ["evaluation.recorded", "gate.killed", "world.archived", "world.created"]
    assert get_run(world_id=gone, run_id="run-1").decision_bytes()


def test_chain_of_a_world_that_is_gone_can_be_seen_by_an_auditor(gone: str, auditor: User, client: Client) -> None:
    client.force_login(auditor)

    page = client.get("/admin/audit/auditevent/", {"q": "world.archived"})

    assert page.status_code == 200
    assert "world.archived" in page.content.decode()


def test_chain_of_a_world_that_is_gone_can_be_signed_exported_and_verified(gone: str, tmp_path: Path) -> None:
    signed = checkpoint(tmp_path / "checkpoints.jsonl")
    exported = export(tmp_path / "w1.jsonl", "--chain", gone)

    in_database = verify("--chain", gone, "--checkpoints", str(signed))
    in_file = verify("--export", str(exported))

    assert (in_database[0], in_file[0]) == (0, 0)
    assert "w1: 3 rows good" in in_file[1].splitlines()
    assert "evaluations: 1 good" in in_database[1].splitlines()
