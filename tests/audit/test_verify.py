from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from django.core.management import CommandError
from django.db import connection

from audit import stored
from audit.chain import kill_chain, row_hash
from audit.models import AuditEvent
from audit.recorder import record
from audit.runs import finish_run
from qmtl_worlds.contracts.digests import canonical_json
from tests.audit.commands import first_bad, verify
from tests.audit.factories import act, chain_anew, finished_run, outcome, running_run, write_events

pytestmark = pytest.mark.django_db
Tamper = Callable[..., None]
OTHER_TIME = "2020-01-01T00:00:00.000000+00:00"


def test_verify_of_an_untouched_audit_ends_well() -> None:
    write_events(3)
    write_events(2, chain="w2")
    finished_run("run-9", world_id="w2")

    code, output = verify()

    assert code == 0
    assert output.splitlines() == [
        "w1: 3 rows good",
        "w2: 3 rows good",
        "checkpoints: 0 good",
        "evaluations: 1 good",
        "The audit is as it was written.",
    ]


def test_verify_of_an_empty_audit_ends_well() -> None:
    assert verify()[0] == 0


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE audit_auditevent SET actor = 'person:alicf' WHERE seq = 3",
        "UPDATE audit_auditevent SET reason = 'becausf' WHERE seq = 3",
        'UPDATE audit_auditevent SET after_json = \'{"name":"name 4","share":0.1}\' WHERE seq = 3',
        "UPDATE audit_auditevent SET before_json = 'no json' WHERE seq = 3",
        "UPDATE audit_auditevent SET policy_version = 2 WHERE seq = 3",
        "UPDATE audit_auditevent SET at = '2026-03-02 12:02:00.000001+00:00' WHERE seq = 3",
        "UPDATE audit_auditevent SET hash = prev_hash WHERE seq = 3",
        "UPDATE audit_auditevent SET prev_hash = hash WHERE seq = 3",
    ],
)
def test_verify_names_a_row_of_which_one_byte_was_changed(tamper: Tamper, sql: str) -> None:
    write_events(5)

    tamper(sql)

    assert first_bad() == ("w1", 3, "altered")


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL stores no such value")
@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE audit_auditevent SET actor = CAST(X'C3' AS TEXT) WHERE seq = 3",
        "UPDATE audit_auditevent SET reason = X'C3' WHERE seq = 3",
        "UPDATE audit_auditevent SET before_json = X'6E756C6C' WHERE seq = 3",
        "UPDATE audit_auditevent SET at = '2026-13-02 12:00:00' WHERE seq = 3",
        "UPDATE audit_auditevent SET at = 'noon' WHERE seq = 3",
        "UPDATE audit_auditevent SET policy_version = '1,2' WHERE seq = 3",
        "UPDATE audit_auditevent SET hash = CAST(X'C3' AS TEXT) WHERE seq = 3",
        "UPDATE audit_auditevent SET hash = '', before_json = '' WHERE seq = 3",
        "UPDATE audit_auditevent SET at = replace(at, ' ', 'T') WHERE seq = 3",
    ],
)
def test_verify_names_a_row_that_cannot_be_decoded(tamper: Tamper, sql: str) -> None:
    write_events(5)

    tamper(sql)

    assert first_bad() == ("w1", 3, "altered")


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL stores no such value")
@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("UPDATE audit_auditevent SET seq = 'three' WHERE seq = 3", ("w1", 3, "missing")),
        ("UPDATE audit_auditevent SET seq = 'six' WHERE seq = 5", ("w1", 5, "tail-missing")),
        ("UPDATE audit_auditevent SET seq = 2.5 WHERE seq = 3", ("w1", 2.5, "repeated")),
        ("UPDATE audit_auditevent SET chain = CAST(X'77C3' AS TEXT) WHERE seq = 3", ("w1", 3, "missing")),
        ("UPDATE audit_auditevent SET chain = X'7731' WHERE seq = 3", ("w1", 3, "missing")),
        ("UPDATE audit_audithead SET seq = 'five'", ("w1", 0, "head-altered")),
        ("UPDATE audit_audithead SET hash = CAST(X'C3' AS TEXT)", ("w1", 0, "head-altered")),
        ("UPDATE audit_audithead SET chain = CAST(X'77C3' AS TEXT)", ("w1", 0, "head-missing")),
    ],
)
def test_verify_names_numbers_and_names_that_are_none(
    tamper: Tamper, sql: str, expected: tuple[str, float, str]
) -> None:
    write_events(5)

    tamper(sql)

    assert first_bad() == expected


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL stores no such value")
def test_verify_names_a_row_beyond_the_head_whose_number_is_none(tamper: Tamper) -> None:
    write_events(5)
    tamper("CREATE TEMP TABLE copied AS SELECT * FROM audit_auditevent WHERE seq = 5")
    tamper("UPDATE copied SET id = id + 1, seq = 'six'")
    tamper("INSERT INTO audit_auditevent SELECT * FROM copied")
    tamper("DROP TABLE copied")

    assert first_bad() == ("w1", 6, "beyond-head")


def test_verify_names_text_that_was_moved_between_fields_without_changing_the_hash(tamper: Tamper) -> None:
    record(chain="w1", kind="world.updated", act=act(), after={"aa": 1, "at": OTHER_TIME, "before": 5})
    moved = '5},"at":"2026-03-02T12:00:00.000000+00:00","before":null'

    tamper(
        "UPDATE audit_auditevent SET after_json = %s, at = %s, before_json = %s",
        *('{"aa":1', OTHER_TIME.replace("T", " "), moved),
    )

    event = AuditEvent.objects.get()
    assert row_hash(event.chain_row()) == event.hash
    assert first_bad() == ("w1", 1, "altered")


def test_verify_names_the_first_of_two_swapped_rows(tamper: Tamper) -> None:
    write_events(5)

    tamper("UPDATE audit_auditevent SET seq = 0 WHERE seq = 2")
    tamper("UPDATE audit_auditevent SET seq = 2 WHERE seq = 4")
    tamper("UPDATE audit_auditevent SET seq = 4 WHERE seq = 0")

    assert first_bad() == ("w1", 2, "altered")


def test_verify_names_a_row_that_was_deleted(tamper: Tamper) -> None:
    write_events(5)

    tamper("DELETE FROM audit_auditevent WHERE seq = 2")

    assert first_bad() == ("w1", 2, "missing")


def test_verify_names_a_tail_that_was_cut(tamper: Tamper) -> None:
    write_events(5)

    tamper("DELETE FROM audit_auditevent WHERE seq > 3")

    assert first_bad() == ("w1", 4, "tail-missing")


@pytest.mark.parametrize(
    ("sql", "seq", "code"),
    [
        ("UPDATE audit_audithead SET seq = 7", 6, "tail-missing"),
        ("UPDATE audit_audithead SET seq = 3", 3, "head-altered"),
        ("UPDATE audit_audithead SET hash = 'sha256:0'", 5, "head-altered"),
        ("DELETE FROM audit_audithead", 0, "head-missing"),
        (
            "UPDATE audit_audithead SET seq = 4, hash = (SELECT hash FROM audit_auditevent WHERE seq = 4)",
            5,
            "beyond-head",
        ),
    ],
)
def test_verify_names_a_head_that_was_changed(tamper: Tamper, sql: str, seq: int, code: str) -> None:
    write_events(5)

    tamper(sql)

    assert first_bad() == ("w1", seq, code)


def test_verify_names_a_chain_that_is_gone(tamper: Tamper) -> None:
    write_events(2)

    tamper("DELETE FROM audit_auditevent")

    assert first_bad() == ("w1", 1, "tail-missing")


def test_verify_names_the_first_bad_row_of_every_chain(tamper: Tamper) -> None:
    for chain in ("w1", "w2", "w3"):
        write_events(4, chain=chain)
    tamper("UPDATE audit_auditevent SET actor = 'mallory' WHERE chain <> 'w2' AND seq >= 3")

    code, output = verify()

    assert code == 1
    assert output.splitlines() == [
        "w1: 2 rows good; then w1 row 3: its content does not match its hash [altered]",
        "w2: 4 rows good",
        "w3: 2 rows good; then w3 row 3: its content does not match its hash [altered]",
        "checkpoints: 0 good",
        "evaluations: 0 good",
        "BAD: w1 row 3: its content does not match its hash [altered]",
    ]


def test_verify_reads_long_chains_page_by_page(monkeypatch: pytest.MonkeyPatch, tamper: Tamper) -> None:
    monkeypatch.setattr(stored, "PAGE", 2)
    write_events(5)

    assert verify()[0] == 0
    tamper("UPDATE audit_auditevent SET actor = 'mallory' WHERE seq = 5")
    assert first_bad() == ("w1", 5, "altered")


def test_verify_of_one_chain_covers_its_kills_and_nothing_else(tamper: Tamper) -> None:
    write_events(2)
    write_events(2, chain="w2")
    record(chain=kill_chain("w1"), kind="gate.killed", act=act())
    tamper("UPDATE audit_auditevent SET actor = 'mallory' WHERE chain IN ('w2', 'w1!kill')")

    assert first_bad("--chain", "w1") == ("w1!kill", 1, "altered")
    assert first_bad("--chain", "w2") == ("w2", 1, "altered")


def test_verify_of_an_unknown_chain_is_an_error() -> None:
    with pytest.raises(CommandError, match="no chain 'w9'"):
        verify("--chain", "w9")


@pytest.mark.parametrize(
    ("sql", "code", "detail"),
    [
        ("UPDATE audit_auditrun SET state = 'inconclusive'", "run-altered", "facts"),
        ("UPDATE audit_auditrun SET as_of = '2026-03-02 11:00:00+00:00'", "run-altered", "facts"),
        ("UPDATE audit_auditrun SET policy_version = 4", "run-altered", "facts"),
        ("UPDATE audit_audithighlight SET kind = 'blocked' WHERE kind = 'topk'", "run-altered", "facts"),
        ("DELETE FROM audit_audithighlight WHERE key = 'c|long'", "run-altered", "facts"),
        ("UPDATE audit_auditrun SET inputs_json = '{}'", "run-altered", "facts"),
        ("UPDATE audit_auditrun SET envelope = (SELECT data FROM audit_auditchunk LIMIT 1)", "run-altered", "read"),
        (
            "UPDATE audit_auditrun SET envelope = (SELECT o.envelope FROM audit_auditrun o WHERE o.world_id = 'w2')",
            "run-altered",
            "decision does not match",
        ),
        ("UPDATE audit_auditchunk SET last_key = 'f|long' WHERE first_key = 'a|long'", "run-altered", "per instance"),
        ("DELETE FROM audit_auditchunk WHERE first_key = 'g|long'", "run-altered", "per instance"),
        ("UPDATE audit_auditrun SET run_id = 'run-2' WHERE world_id = 'w1'", "run-unrecorded", "run-2"),
        ("UPDATE audit_auditrun SET state = 'running' WHERE world_id = 'w1'", "run-missing", "run-1"),
    ],
)
def test_verify_names_a_changed_evaluation(tamper: Tamper, sql: str, code: str, detail: str) -> None:
    finished_run("run-1")
    other = replace(outcome(), decision=b"{}")
    finish_run(run=running_run(world_id="w2"), outcome=other, act=act())

    tamper(sql)

    _, output = verify("--json")
    first = json.loads(output)["first"]
    assert (first["chain"], first["code"]) == ("w1", code)
    assert detail in first["detail"]


def test_evaluation_that_the_first_release_recorded_is_good_by_what_its_event_holds(tamper: Tamper) -> None:
    finished_run()
    event = AuditEvent.objects.get()
    assert isinstance(event.after, dict)
    older = {name: fact for name, fact in event.after.items() if name not in {"row", "envelope", "highlights"}}

    tamper("UPDATE audit_auditevent SET after_json = %s", canonical_json(older).decode())
    chain_anew("w1")

    assert verify()[0] == 0
    tamper("UPDATE audit_auditrun SET state = 'inconclusive'")
    assert first_bad() == ("w1", 1, "run-altered")


def test_evaluation_whose_event_leaves_out_a_fact_is_named(tamper: Tamper) -> None:
    finished_run()

    tamper("UPDATE audit_auditevent SET after_json = '{}'")
    chain_anew("w1")

    assert first_bad() == ("w1", 1, "run-altered")
