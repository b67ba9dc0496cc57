from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.chain import GENESIS, ChainHead, ChainRow, Link, document, kill_chain, row_hash, verify_chain
from qmtl_worlds.contracts.digests import canonical_json
from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.contracts.ids import check_world_id

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(TEXTS, children, max_size=3),
    max_leaves=6,
)
ROWS = st.builds(
    ChainRow,
    *(TEXTS, st.integers(1), TEXTS, TEXTS, TEXTS, TEXTS, VALUES, VALUES, TEXTS),
    *(st.none() | st.integers(1), TEXTS, TEXTS, TEXTS),
)


def links(count: int) -> list[Link]:
    """A good chain ``w1``."""
    hashes = [GENESIS, *(f"hash {seq}" for seq in range(1, count + 1))]
    return [Link("w1", seq, hashes[seq - 1], hashes[seq], hashes[seq]) for seq in range(1, count + 1)]


@settings(max_examples=40)
@given(ROWS)
def test_document_is_the_canonical_json_of_all_fields(fields: ChainRow) -> None:
    before, after = (canonical_json(value).decode() for value in (fields.before, fields.after))

    covered = document(fields._replace(before=before, after=after))

    assert covered == canonical_json(fields._asdict())


@settings(max_examples=40)
@given(ROWS, st.sampled_from(sorted(set(ChainRow._fields) - {"seq", "policy_version", "before", "after"})))
def test_hash_changes_with_every_field(fields: ChainRow, name: str) -> None:
    row = fields._replace(before="1", after="2")

    changed = row._replace(**{name: getattr(row, name) + "x"})

    assert row_hash(changed) != row_hash(row)
    assert row_hash(row._replace(seq=row.seq + 1)) != row_hash(row)
    assert row_hash(row._replace(before="2", after="1")) != row_hash(row)


def test_chain_of_kills_is_no_world_id() -> None:
    with pytest.raises(InputInvalidError):
        check_world_id(kill_chain("w1"))


def test_verify_accepts_a_good_chain_and_an_empty_one() -> None:
    assert verify_chain("w1", links(3), head=ChainHead(3, "hash 3")).finding is None
    assert verify_chain("w1", [], head=ChainHead(0, GENESIS)).finding is None


def swapped() -> list[Link]:
    first, second, third = links(3)
    return [first, third._replace(seq=2, computed="other"), second._replace(seq=3, computed="other")]


@pytest.mark.parametrize(
    ("found", "head", "seq", "code"),
    [
        ([*links(3)[:1], links(3)[1]._replace(computed="other"), links(3)[2]], (3, "hash 3"), 2, "altered"),
        ([*links(3)[:1], links(3)[1]._replace(prev_hash="other"), links(3)[2]], (3, "hash 3"), 2, "unlinked"),
        (links(3)[1:], (3, "hash 3"), 1, "missing"),
        ([*links(3)[:1], *links(3)[2:]], (3, "hash 3"), 2, "missing"),
        ([*links(2), *links(2)[1:]], (2, "hash 2"), 2, "repeated"),
        (swapped(), (3, "hash 3"), 2, "altered"),
        (links(2), (3, "hash 3"), 3, "tail-missing"),
        ([], (3, "hash 3"), 1, "tail-missing"),
        (links(3), (2, "hash 2"), 3, "beyond-head"),
        (links(3), (3, "other"), 3, "head-altered"),
        (links(3), None, 0, "head-missing"),
    ],
)
def test_verify_names_the_first_bad_row(found: list[Link], head: tuple[int, str] | None, seq: int, code: str) -> None:
    report = verify_chain("w1", found, head=head and ChainHead(*head))

    assert report.finding is not None
    assert (report.finding.chain, report.finding.seq, report.finding.code) == ("w1", seq, code)


def test_finding_reads_as_a_sentence() -> None:
    report = verify_chain("w1", links(2)[1:], head=ChainHead(2, "hash 2"))

    assert str(report.finding) == "w1 row 1: the row is missing; the next one found is 2 [missing]"


def test_document_survives_a_round_trip_through_json() -> None:
    row = ChainRow("w1", 7, "k", "a", "r", "s", '{"x":1e-07}', "null", "", None, "", "t", GENESIS)

    assert canonical_json(json.loads(document(row))) == document(row)
