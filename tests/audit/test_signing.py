from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from pytest_django import DjangoAssertNumQueries, Settings

from audit.checkpoints import sign_due
from audit.keys import SigningKeyError, trusted_keys
from audit.models import Checkpoint
from tests.audit.commands import first_bad, verify
from tests.audit.factories import NOON, write_events
from tests.audit.signed import Outside, checkpoint, write_key

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("key")]
HOUR = timedelta(hours=1)


def test_chains_that_grew_are_signed_once_an_hour(outside: Outside) -> None:
    made = Checkpoint.objects.get(chain="w1").created_at
    write_events(1)

    assert sign_due(now=made + HOUR / 2) == 0
    assert sign_due(now=made + HOUR) == 1
    assert sign_due(now=made + 2 * HOUR) == 0
    assert Checkpoint.objects.filter(chain="w1").count() == 2
    assert verify()[0] == 0


def test_signing_costs_one_query_where_nothing_is_due(
    outside: Outside, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    made = Checkpoint.objects.get(chain="w1").created_at

    with django_assert_num_queries(1):
        assert sign_due(now=made) == 0


def test_clock_that_jumped_back_does_not_stop_the_signing(outside: Outside) -> None:
    write_events(1)

    assert sign_due(now=NOON) == 1


def test_checkpoint_made_twice_says_the_same(outside: Outside) -> None:
    before = outside.checkpoints.read_bytes()

    checkpoint(outside.checkpoints)

    assert outside.checkpoints.read_bytes() == before * 2
    assert Checkpoint.objects.count() == 2
    assert verify(*outside.options)[0] == 0


def test_earlier_key_stays_trusted_by_its_public_half(outside: Outside, tmp_path: Path, settings: Settings) -> None:
    settings.AUDIT_SIGNING_KEY_FILE = write_key(tmp_path / "next.pem")
    checkpoint(outside.checkpoints)

    assert first_bad() == ("w1", 5, "checkpoint-unknown-key")
    settings.AUDIT_PUBLIC_KEYS_FILE = outside.public_key
    assert "checkpoints: 4 good" in verify()[1].splitlines()


def test_key_is_made_on_first_use_for_its_owner_only(tmp_path: Path, settings: Settings) -> None:
    settings.AUDIT_SIGNING_KEY_FILE = None
    settings.DATA_DIR = tmp_path
    write_events(1)
    assert trusted_keys() == {}

    assert sign_due(now=NOON) == 1

    assert (tmp_path / "audit_signing_key.pem").stat().st_mode & 0o777 == 0o600
    assert list(trusted_keys()) == [Checkpoint.objects.get().key_id]
    assert verify()[0] == 0


def test_public_key_can_be_printed(capsys: pytest.CaptureFixture[str], key: Path) -> None:
    call_command("audit_checkpoint", "--print-public-key")

    assert capsys.readouterr().out.encode() == key.with_suffix(".pub").read_bytes()


@pytest.mark.parametrize("content", [b"", b"no key", None])
def test_key_that_cannot_be_read_is_an_error(key: Path, content: bytes | None) -> None:
    write_events(1)
    if content is None:
        key.unlink()
    else:
        key.write_bytes(content)

    with pytest.raises(SigningKeyError, match="signing key"):
        sign_due(now=NOON)
    with pytest.raises(CommandError, match="signing key"):
        call_command("audit_checkpoint")


def test_key_that_everybody_can_read_is_an_error(key: Path) -> None:
    write_events(1)
    key.chmod(0o644)

    with pytest.raises(SigningKeyError, match="open to everybody"):
        sign_due(now=NOON)


def test_public_key_that_is_none_is_an_error(key: Path) -> None:
    with pytest.raises(CommandError, match="Ed25519 public keys"):
        verify("--public-key", str(key))


@pytest.mark.parametrize(
    ("sql", "operation"),
    [("UPDATE audit_checkpoint SET seq = 1", "UPDATE"), ("DELETE FROM audit_checkpoint", "DELETE")],
)
def test_written_checkpoint_cannot_be_changed(outside: Outside, sql: str, operation: str) -> None:
    with pytest.raises(IntegrityError, match=f"audit_checkpoint refuses {operation}"), transaction.atomic():
        connection.cursor().execute(sql)
