from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl_worlds.contracts.activation import ActivationEnvelope, GateLevel, envelope_etag, parse_envelope, supersedes
from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.contracts.lease import (
    EXPIRED,
    MAX_LEASE_MS,
    Position,
    StreamClock,
    drain_seconds,
    find_position,
    read_deadline,
)
from qmtl_worlds.lifecycle.gate import answer
from tests.unit.lifecycle.runs import NOW
from tests.unit.lifecycle.test_gate_answer import MEMBER, OPEN_WORLD

OPEN = answer(MEMBER, OPEN_WORLD, NOW)
FIELDS = [
    "world_id",
    "strategy_id",
    "side",
    "active",
    "weight",
    "freeze",
    "drain",
    "gate",
    "mode",
    "effective_mode",
    "reason",
    "etag",
    "generation",
    "sequence",
    "run_id",
    "ts",
    "state_hash",
]
positions = st.builds(Position, *[st.integers(0, 3)] * 3)


def at(position: Position, gate: GateLevel = GateLevel.OPEN, weight: float = 0.1) -> ActivationEnvelope:
    is_open = gate is GateLevel.OPEN
    return replace(
        OPEN,
        active=is_open,
        gate=gate,
        weight=weight if is_open else 0.0,
        sequence=position.sequence,
        etag=f"{position.text}-0123",
    )


envelopes = st.builds(at, positions, st.sampled_from(sorted(GateLevel)), st.sampled_from([0.1, 0.2]))


def test_envelope_has_exactly_the_fields_of_the_api_and_survives_the_wire() -> None:
    body = json.loads(json.dumps(OPEN.to_json()))

    assert sorted(body) == sorted([*FIELDS, "on_lease_expiry"])
    assert (body["side"], body["gate"], body["ts"]) == ("long", "open", "2026-03-09T13:00:00Z")
    assert parse_envelope(body) == OPEN
    assert OPEN.position == Position(1, 42, 0)


def test_unknown_fields_are_ignored() -> None:
    assert parse_envelope({**OPEN.to_json(), "version": 1}) == OPEN


def test_server_that_does_not_say_what_passes_after_the_lease_means_exits() -> None:
    body = OPEN.to_json()
    del body["on_lease_expiry"]

    assert parse_envelope(body).on_lease_expiry is GateLevel.REDUCE_ONLY


@pytest.mark.parametrize("field", FIELDS)
def test_missing_field_is_an_error(field: str) -> None:
    body = OPEN.to_json()
    del body[field]

    with pytest.raises(InputInvalidError, match=field):
        parse_envelope(body)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("active", 1),
        ("active", "true"),
        ("active", False),
        ("weight", math.nan),
        ("weight", -0.1),
        ("weight", 1.1),
        ("weight", 0),
        ("weight", True),
        ("weight", "0.1"),
        ("gate", "closed"),
        ("gate", "ajar"),
        ("on_lease_expiry", "open"),
        ("on_lease_expiry", "ajar"),
        ("on_lease_expiry", None),
        ("side", "both"),
        ("freeze", True),
        ("drain", True),
        ("sequence", 41),
        ("sequence", -1),
        ("sequence", 4.2),
        ("generation", True),
        ("etag", "abc"),
        ("ts", "yesterday"),
        ("ts", "2026-03-09T13:00:00"),
        ("world_id", None),
    ],
)
def test_answer_that_is_malformed_or_contradicts_itself_is_refused(field: str, value: object) -> None:
    with pytest.raises(InputInvalidError):
        parse_envelope({**OPEN.to_json(), field: value})


@pytest.mark.parametrize("body", [None, [], "open", 1])
def test_answer_that_is_no_object_is_refused(body: object) -> None:
    with pytest.raises(InputInvalidError):
        parse_envelope(body)


def test_etag_covers_every_field_but_itself() -> None:
    body = OPEN.to_json()

    assert envelope_etag(Position(1, 42, 0), body) == OPEN.etag
    assert envelope_etag(Position(1, 42, 0), {**body, "etag": "x"}) == OPEN.etag
    assert envelope_etag(Position(1, 42, 0), {**body, "run_id": "x"}) != OPEN.etag


@pytest.mark.parametrize(
    ("offered", "held", "taken"),
    [
        (at(Position(1, 42, 0)), at(Position(1, 41, 9)), True),
        (at(Position(1, 41, 9)), at(Position(1, 42, 0)), False),
        (at(Position(2, 1, 0)), at(Position(1, 42, 0)), True),
        (at(Position(1, 42, 0)), at(Position(2, 1, 0)), False),
        (at(Position(1, 42, 0)), at(Position(1, 42, 0)), True),
        (at(Position(1, 42, 1), GateLevel.CLOSED), at(Position(1, 42, 0)), True),
        (at(Position(1, 42, 0)), at(Position(1, 42, 1), GateLevel.CLOSED), False),
        (at(Position(1, 42, 0), GateLevel.REDUCE_ONLY), at(Position(1, 42, 0)), True),
        (at(Position(1, 42, 0), weight=0.1), at(Position(1, 42, 0), weight=0.2), True),
        (at(Position(1, 42, 0), weight=0.2), at(Position(1, 42, 0), weight=0.1), False),
    ],
)
def test_later_or_stricter_answer_wins(offered: ActivationEnvelope, held: ActivationEnvelope, taken: bool) -> None:
    assert supersedes(offered, held) is taken


def test_first_answer_is_taken_unless_it_does_not_say_where_it_stands() -> None:
    assert supersedes(OPEN, None)
    assert not supersedes(replace(OPEN, etag="?"), None)
    assert not supersedes(replace(OPEN, etag="?"), OPEN)


@given(envelopes, envelopes)
def test_of_two_answers_one_supersedes_the_other(one: ActivationEnvelope, two: ActivationEnvelope) -> None:
    assert supersedes(one, two) or supersedes(two, one)
    assert supersedes(one, one)


@given(st.lists(envelopes, min_size=1, max_size=8))
def test_reader_ends_at_the_strictest_answer_of_the_latest_sequence(offered: list[ActivationEnvelope]) -> None:
    held: ActivationEnvelope | None = None
    for envelope in offered:
        held = envelope if supersedes(envelope, held) else held

    assert held is not None
    assert held.position is not None
    latest = max((one.position.incarnation, one.sequence) for one in offered if one.position)
    strictest = max(
        one.gate.strictness for one in offered if one.position and (one.position.incarnation, one.sequence) == latest
    )
    assert (held.position.incarnation, held.sequence) == latest
    assert held.gate.strictness == strictest


@given(positions)
def test_position_is_found_in_etags_and_event_ids(position: Position) -> None:
    assert find_position(position.text) == position
    assert find_position(f'"{position.text}-0a1b"') == position


@pytest.mark.parametrize("text", ["", "1.2", "a.b.c", "-1.2.3", "W/1.2.3"])
def test_text_without_position_has_none(text: str) -> None:
    assert find_position(text) is None


def test_deadline_counts_from_when_the_question_was_sent() -> None:
    assert read_deadline(sent=100.0, lease_ms=4500) == 104.5


@pytest.mark.parametrize("lease_ms", [0, -1, math.nan, math.inf, MAX_LEASE_MS + 1])
def test_lease_that_is_no_lease_permits_nothing(lease_ms: float) -> None:
    assert read_deadline(sent=100.0, lease_ms=lease_ms) == EXPIRED


def test_late_frame_of_a_stream_is_as_old_as_the_server_says() -> None:
    clock = StreamClock(sent=100.0, first_server_ms=5_000)

    assert clock.deadline(server_ms=5_000, lease_ms=5_000) == 105.0
    assert clock.deadline(server_ms=15_000, lease_ms=5_000) == pytest.approx(100 + 10 * 0.999 + 5)


@pytest.mark.parametrize("server_ms", [4_999, math.nan, math.inf])
def test_server_clock_that_ran_backwards_permits_nothing(server_ms: float) -> None:
    assert StreamClock(sent=100.0, first_server_ms=5_000).deadline(server_ms=server_ms, lease_ms=5_000) == EXPIRED


def test_drain_is_longer_than_any_lease_on_a_clock_that_drifts() -> None:
    assert drain_seconds(lease_seconds=5.0, slack_seconds=0.25) == pytest.approx(5.255)


def test_unconfirmed_answer_takes_no_place_and_leaves_its_own_to_the_next() -> None:
    unsure = replace(OPEN, active=False, gate=GateLevel.REDUCE_ONLY, weight=0.0, reason="unconfirmed")

    assert not supersedes(unsure, OPEN)
    assert supersedes(OPEN, unsure)
    assert supersedes(unsure, unsure)
    assert not supersedes(OPEN, replace(unsure, etag=OPEN.etag.replace("1.42.0", "1.42.1")))
