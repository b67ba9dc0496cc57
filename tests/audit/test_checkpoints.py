"""What the owner of the database can do, and how each of it shows (F29)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pytest_django import Settings

from audit.keys import signing_key
from audit.models import Checkpoint
from audit.signatures import key_id_of, read_public_keys
from tests.audit.commands import export, first_bad, verify
from tests.audit.factories import chain_anew, write_events
from tests.audit.signed import Outside, checkpoint, write_key

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("key")]
Tamper = Callable[..., None]


def test_untouched_audit_agrees_with_its_checkpoints_inside_and_outside(outside: Outside) -> None:
    write_events(3, chain="w1")

    code, output = verify(*outside.options)

    assert code == 0
    assert "checkpoints: 2 good" in output.splitlines()


def test_bit_flip_of_a_signed_row_is_named(outside: Outside, tamper: Tamper) -> None:
    tamper("UPDATE audit_auditevent SET reason = 'becausf' WHERE chain = 'w1' AND seq = 3")

    assert first_bad(*outside.options) == ("w1", 3, "altered")


def test_deleted_row_is_named(outside: Outside, tamper: Tamper) -> None:
    tamper("DELETE FROM audit_auditevent WHERE chain = 'w1' AND seq = 4")

    assert first_bad(*outside.options) == ("w1", 4, "missing")


def test_tail_cut_with_its_head_is_named_by_the_checkpoint_in_the_database(outside: Outside, tamper: Tamper) -> None:
    tamper("DELETE FROM audit_auditevent WHERE chain = 'w1' AND seq > 3")
    chain_anew("w1")

    assert first_bad() == ("w1", 5, "missing")


def test_tail_cut_with_its_checkpoints_is_named_by_the_copy_outside(outside: Outside, tamper: Tamper) -> None:
    tamper("DELETE FROM audit_auditevent WHERE chain = 'w1' AND seq > 3")
    tamper("DELETE FROM audit_checkpoint WHERE chain = 'w1'")
    chain_anew("w1")

    assert verify()[0] == 0
    assert first_bad(*outside.options) == ("w1", 5, "missing")


def test_chain_that_is_gone_altogether_is_named_by_the_copy_outside(outside: Outside, tamper: Tamper) -> None:
    tamper("DELETE FROM audit_auditevent WHERE chain = 'w2'")
    tamper("DELETE FROM audit_audithead WHERE chain = 'w2'")
    tamper("DELETE FROM audit_checkpoint WHERE chain = 'w2'")

    assert verify()[0] == 0
    assert first_bad(*outside.options) == ("w2", 2, "missing")
    assert first_bad(*outside.options, "--chain", "w2") == ("w2", 2, "missing")


def test_chain_rewritten_by_the_owner_is_named_by_its_checkpoint(outside: Outside, tamper: Tamper) -> None:
    tamper("UPDATE audit_auditevent SET actor = 'person:mallory' WHERE chain = 'w1' AND seq = 2")
    chain_anew("w1")

    assert first_bad() == ("w1", 5, "rewritten")


def test_chain_rewritten_and_signed_with_a_key_of_the_owner_is_named(
    outside: Outside, tamper: Tamper, tmp_path: Path, settings: Settings
) -> None:
    tamper("UPDATE audit_auditevent SET actor = 'person:mallory' WHERE chain = 'w1' AND seq = 2")
    tamper("DELETE FROM audit_checkpoint WHERE chain = 'w1'")
    chain_anew("w1")
    settings.AUDIT_SIGNING_KEY_FILE = write_key(tmp_path / "mallory.pem")
    checkpoint(tmp_path / "mallory.jsonl")

    assert first_bad("--public-key", str(outside.public_key)) == ("w1", 5, "checkpoint-unknown-key")
    assert "w1 row 5: the row has another hash" in verify(*outside.options)[1]


def test_checkpoint_taken_out_of_the_database_is_named_by_the_copy_outside(outside: Outside, tamper: Tamper) -> None:
    tamper("DELETE FROM audit_checkpoint WHERE chain = 'w1'")

    assert first_bad(*outside.options) == ("w1", 5, "checkpoint-missing")


def test_forged_signature_is_named(outside: Outside, tamper: Tamper) -> None:
    write_events(2)
    tamper("UPDATE audit_checkpoint SET seq = 7 WHERE chain = 'w1'")

    assert first_bad() == ("w1", 7, "checkpoint-forged")


@pytest.mark.parametrize("change", [str.upper, lambda text: " " + text, lambda text: text[:-2], lambda _text: "none"])
def test_signature_written_in_another_way_is_forged(
    outside: Outside, tamper: Tamper, change: Callable[[str], str]
) -> None:
    signature = Checkpoint.objects.get(chain="w1").signature

    tamper("UPDATE audit_checkpoint SET signature = %s WHERE chain = 'w1'", change(signature)[:128])

    assert first_bad() == ("w1", 5, "checkpoint-forged")


def test_wrong_key_is_named(outside: Outside, tmp_path: Path) -> None:
    other = write_key(tmp_path / "other.pem").with_suffix(".pub")

    found = first_bad("--checkpoints", str(outside.checkpoints), "--public-key", str(other))

    assert found == ("w1", 5, "checkpoint-unknown-key")


def test_signature_of_another_key_under_the_name_of_ours_is_forged(outside: Outside, tmp_path: Path) -> None:
    ours, theirs = (key_id_of(key) for key in (signing_key().public_key(), _other_key(tmp_path)))
    line = outside.checkpoints.read_text().splitlines()[0].replace(ours, theirs)
    outside.checkpoints.write_text(line + "\n")

    trusted = outside.public_key.read_bytes() + (tmp_path / "other.pub").read_bytes()
    both = tmp_path / "both.pub"
    both.write_bytes(trusted)

    code, output = verify("--checkpoints", str(outside.checkpoints), "--public-key", str(both), "--json")
    assert code == 1
    assert [finding["code"] for finding in json.loads(output)["others"]] == ["checkpoint-forged"]


def test_line_of_the_copy_outside_that_is_no_checkpoint_is_named(outside: Outside) -> None:
    outside.checkpoints.write_bytes(b'{"checkpoint":{}}\n' + outside.checkpoints.read_bytes())

    assert first_bad(*outside.options) == ("", 1, "checkpoint-unreadable")


def test_changed_bytes_of_the_copy_outside_are_found(outside: Outside) -> None:
    first, *rest = outside.checkpoints.read_bytes().splitlines(keepends=True)

    for place in range(0, len(first) - 1, 17):
        changed = first[:place] + bytes([first[place] ^ 1]) + first[place + 1 :]
        outside.checkpoints.write_bytes(b"".join([changed, *rest]))
        assert verify(*outside.options)[0] == 1, place


def test_export_holds_the_checkpoints_and_verifies_with_the_public_key_alone(
    outside: Outside, tmp_path: Path, settings: Settings
) -> None:
    path = export(tmp_path / "audit.jsonl")
    settings.AUDIT_SIGNING_KEY_FILE = tmp_path / "nowhere.pem"

    code, output = verify("--export", str(path), "--public-key", str(outside.public_key))

    assert code == 0
    assert "checkpoints: 2 good" in output.splitlines()
    assert first_bad("--export", str(path)) == ("w1", 5, "checkpoint-unknown-key")


def test_old_export_that_is_shown_again_is_named_by_the_newer_checkpoints(outside: Outside, tmp_path: Path) -> None:
    old = export(tmp_path / "old.jsonl")
    write_events(2)
    checkpoint(outside.checkpoints)

    assert verify("--export", str(old))[0] == 0
    assert first_bad("--export", str(old), *outside.options) == ("w1", 7, "missing")
    assert verify("--export", str(old), *outside.options, "--chain", "w2")[0] == 0


def test_export_of_a_rewritten_chain_is_named(outside: Outside, tmp_path: Path, tamper: Tamper) -> None:
    tamper("UPDATE audit_auditevent SET actor = 'person:mallory' WHERE chain = 'w1' AND seq = 2")
    chain_anew("w1")

    inside = export(tmp_path / "inside.jsonl")
    tamper("DELETE FROM audit_checkpoint")
    without = export(tmp_path / "without.jsonl")

    assert first_bad("--export", str(inside)) == ("w1", 5, "rewritten")
    assert verify("--export", str(without))[0] == 0
    assert first_bad("--export", str(without), *outside.options) == ("w1", 5, "rewritten")


def test_changed_bytes_of_a_checkpoint_in_an_export_are_found(outside: Outside, tmp_path: Path) -> None:
    path = export(tmp_path / "audit.jsonl")
    first, signed, *rest = path.read_bytes().splitlines(keepends=True)

    for place in range(0, len(signed) - 1, 11):
        changed = signed[:place] + bytes([signed[place] ^ 1]) + signed[place + 1 :]
        path.write_bytes(b"".join([first, changed, *rest]))
        assert verify("--export", str(path))[0] == 1, place


def _other_key(folder: Path) -> Ed25519PublicKey:
    (theirs,) = read_public_keys(write_key(folder / "other.pem").with_suffix(".pub").read_bytes()).values()
    return theirs
