from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from audit.chain import GENESIS, kill_chain
from audit.export import verify_export
from audit.recorder import record
from tests.audit.commands import export, first_bad, verify
from tests.audit.factories import act, finished_run, write_events

pytestmark = pytest.mark.django_db


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """An export of two worlds and a kill: a heads line, then w1 1-4, w1!kill 1, w2 1-2."""
    write_events(3)
    finished_run()
    write_events(2, chain="w2")
    record(chain=kill_chain("w1"), kind="gate.killed", act=act())
    return export(tmp_path / "audit.jsonl")


def findings(lines: list[bytes]) -> list[tuple[str, int, str]]:
    report = verify_export(lines)
    found = [*(chain.finding for chain in report.chains if chain.finding), *report.others]
    return [(finding.chain, finding.seq, finding.code) for finding in found]


def test_export_verifies_without_a_database(exported: Path) -> None:
    lines = exported.read_bytes().splitlines(keepends=True)

    report = verify_export(lines)

    assert [(chain.chain, chain.count, chain.finding) for chain in report.chains] == [
        ("w1", 4, None),
        ("w1!kill", 1, None),
        ("w2", 2, None),
    ]


def test_export_can_be_checked_with_nothing_but_sha256(exported: Path) -> None:
    _, *events = exported.read_bytes().splitlines()
    last = GENESIS

    for line in events[:4]:
        body, _, stored = line.removeprefix(b'{"event":').rpartition(b',"hash":"')
        assert json.loads(line)["event"]["prev_hash"] == last
        last = "sha256:" + hashlib.sha256(body).hexdigest()
        assert stored == last.encode() + b'"}'


def test_export_verifies_in_a_process_that_loads_no_framework(exported: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from audit.export import verify_export;"
        "report = verify_export(Path(sys.argv[1]).open('rb'));"
        "print(sum(chain.count for chain in report.chains), 'django' in sys.modules, 'numpy' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(exported)],
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == ["7", "False", "False"]


def test_verify_command_reads_an_export(exported: Path) -> None:
    code, output = verify("--export", str(exported))

    assert code == 0
    assert output.splitlines() == [
        "w1: 4 rows good",
        "w1!kill: 1 rows good",
        "w2: 2 rows good",
        "checkpoints: 0 good",
        "The audit is as it was written.",
    ]


def test_verify_command_names_the_bad_row_of_an_export(exported: Path) -> None:
    exported.write_bytes(exported.read_bytes().replace(b"name 2", b"name 9", 1))

    assert first_bad("--export", str(exported)) == ("w1", 2, "altered")


def test_every_changed_byte_of_an_exported_event_is_found(exported: Path) -> None:
    heads, first, *rest = exported.read_bytes().splitlines()
    changed = (first[:place] + bytes([first[place] ^ 1]) + first[place + 1 :] for place in range(len(first)))

    unnoticed = [line for line in changed if not findings([heads, line, *rest])]

    assert unnoticed == []


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda lines: [*lines[:2], *lines[3:]], [("w1", 2, "missing")]),
        (lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], [("w1", 2, "missing")]),
        (lambda lines: [*lines[:2], lines[2], lines[2], *lines[3:]], [("w1", 2, "repeated")]),
        (lambda lines: lines[:-1], [("w2", 2, "tail-missing")]),
        (lambda lines: lines[:-2], [("w2", 1, "tail-missing")]),
        (lambda lines: [*lines[:2], b"{}", *lines[3:]], [("w1", 2, "altered")]),
        (lambda lines: [*lines[:-1], lines[-1][:50]], [("w2", 2, "altered")]),
        (lambda lines: lines[1:], [("", 0, "unreadable")]),
        (lambda lines: [b'{"heads":{}}', *lines[-2:]], [("w2", 0, "head-missing")]),
        (lambda _lines: [], [("", 0, "unreadable")]),
        (lambda _lines: [b'{"heads":7}'], [("", 0, "unreadable")]),
        (lambda _lines: [b'{"heads":{"w1":{"hash":"","seq":"4"}}}'], [("", 0, "unreadable")]),
        (lambda _lines: [b'{"checkpoints":-1,"heads":{}}'], [("", 0, "unreadable")]),
        (lambda _lines: [b'{"checkpoints":1,"heads":{}}'], [("", 0, "checkpoint-missing")]),
    ],
)
def test_verify_names_what_was_done_to_an_export(
    exported: Path, edit: Callable[[list[bytes]], list[bytes]], expected: list[tuple[str, int, str]]
) -> None:
    lines = exported.read_bytes().splitlines()

    found = findings(edit(lines))

    assert found == expected


def test_export_of_one_chain_holds_it_and_its_kills(exported: Path, tmp_path: Path) -> None:
    path = export(tmp_path / "w1.jsonl", "--chain", "w1")

    heads, *events = path.read_bytes().splitlines()
    assert sorted(json.loads(heads)["heads"]) == ["w1", "w1!kill"]
    assert events == exported.read_bytes().splitlines()[1:6]


def test_export_never_overwrites(exported: Path) -> None:
    with pytest.raises(CommandError, match="never overwritten"):
        export(exported)


def test_export_of_an_unknown_chain_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no chain 'w9'"):
        export(tmp_path / "audit.jsonl", "--chain", "w9")


def test_export_without_a_file_writes_to_stdout(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = TextIOWrapper(BytesIO())
    monkeypatch.setattr("sys.stdout", stdout)

    call_command("audit_export")

    assert stdout.buffer.getvalue() == exported.read_bytes()


def test_verify_of_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="nothing"):
        verify("--export", str(tmp_path / "nothing"))


def test_grown_audit_verifies_against_an_older_export(exported: Path) -> None:
    write_events(2, chain="w2")
    write_events(2, chain="w3")

    assert verify("--against", str(exported))[0] == 0


def test_tail_cut_with_its_head_shows_against_an_older_export(exported: Path, tamper: Callable[..., None]) -> None:
    tamper("DELETE FROM audit_auditevent WHERE chain = 'w2' AND seq = 2")
    tamper(
        "UPDATE audit_audithead SET seq = 1, hash = (SELECT hash FROM audit_auditevent WHERE chain = 'w2') "
        "WHERE chain = 'w2'"
    )

    assert verify()[0] == 0
    assert first_bad("--against", str(exported)) == ("w2", 2, "missing")
    assert verify("--chain", "w1", "--against", str(exported))[0] == 0


def test_chain_rewritten_by_its_owner_shows_against_an_older_export(
    exported: Path, tamper: Callable[..., None]
) -> None:
    tamper("DELETE FROM audit_auditevent WHERE chain = 'w2'")
    tamper("DELETE FROM audit_audithead WHERE chain = 'w2'")
    for _ in range(3):
        record(chain="w2", kind="world.updated", act=act("person:mallory"))

    assert verify()[0] == 0
    assert first_bad("--against", str(exported)) == ("w2", 2, "rewritten")
