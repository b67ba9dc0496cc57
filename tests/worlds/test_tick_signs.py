from __future__ import annotations

from pathlib import Path

import pytest
from pytest_django import Settings
from structlog.testing import capture_logs

from audit.models import AuditHead, Checkpoint
from worlds.models import World
from worlds.work.tick import tick

pytestmark = pytest.mark.django_db


def test_tick_signs_every_chain_and_does_not_sign_it_again(world: World) -> None:
    tick()
    tick()

    ends = set(AuditHead.objects.values_list("chain", "seq"))
    assert world.id in {chain for chain, _ in ends}
    assert {chain for chain, _ in ends} == set(Checkpoint.objects.values_list("chain", flat=True))
    assert Checkpoint.objects.count() == len(ends)


def test_tick_goes_on_where_there_is_no_key(world: World, tmp_path: Path, settings: Settings) -> None:
    settings.AUDIT_SIGNING_KEY_FILE = tmp_path / "nowhere.pem"

    with capture_logs() as logs:
        tick()

    assert "checkpoints_unsigned" in {entry["event"] for entry in logs}
    assert not Checkpoint.objects.exists()
