"""Events out of bytes, and frames out of events."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.sdk.errors import ReplyInvalidError
from qmtl_worlds.sdk.frames import End, Frame, read_frame
from qmtl_worlds.sdk.sse import MAX_EVENT_BYTES, EventParser, ServerEvent
from tests.sdk.activations import STRATEGY, WORLD, activation, wire_activation
from tests.sdk.wire import end_frame, entry, frame, shut_frame

TEXT = b"retry: 812\n\n" + frame("snapshot") + b": a comment\n\n" + shut_frame() + end_frame("gone")


def frames_of(data: bytes) -> list[Frame | End | None]:
    return [read_frame(event, world_id=WORLD, strategy_id=STRATEGY) for event in EventParser().feed(data)]


@given(st.lists(st.integers(0, len(TEXT)), max_size=20))
def test_events_are_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(TEXT)]
    parser, whole = EventParser(), EventParser()

    events = [event for first, last in pairwise(places) for event in parser.feed(TEXT[first:last])]

    assert events == whole.feed(TEXT)
    assert [event.kind for event in events] == ["snapshot", "activation", "end"]
    assert parser.retry_ms == 812


def test_lines_may_end_as_the_standard_allows_and_data_may_span_some() -> None:
    events = EventParser().feed(b"event:x\r\ndata: 1\r\ndata:2\r\nid: 7\r\n\r\n")

    assert events == [ServerEvent("x", "7", "1\n2")]


@pytest.mark.parametrize("data", [b"data: \xff\n", b"data: " + b"x" * MAX_EVENT_BYTES])
def test_event_that_cannot_be_one_is_refused(data: bytes) -> None:
    with pytest.raises(ReplyInvalidError):
        EventParser().feed(data)


def test_many_events_of_usual_length_are_no_long_one() -> None:
    parser = EventParser()

    count = sum(len(parser.feed(frame("heartbeat") * 100)) for _ in range(100))

    assert count == 10_000


def test_retry_that_is_no_number_is_ignored_and_a_long_one_is_bounded() -> None:
    parser = EventParser()

    parser.feed(b"retry: soon\n\n")
    before = parser.retry_ms
    parser.feed(b"retry: 99999999999999999999\n\n")

    assert (before, parser.retry_ms) == (None, 60_000)


def test_state_names_position_times_and_sides() -> None:
    [told] = frames_of(frame("snapshot", entry(changes_at_ms=60_000.5), lease_ms=4321))

    assert isinstance(told, Frame)
    assert (told.position, told.server_ms, told.lease_ms) == (Position(1, 7, 0), 50_000.0, 4321.0)
    assert told.entries["long"].activation == activation()
    assert told.entries["long"].changes_at_ms == 60_000.5


def test_end_gives_its_reason_and_unknown_kinds_are_passed_over() -> None:
    assert frames_of(end_frame("revoked") + b"event: news\ndata: {}\n\n") == [End("revoked"), None]


SECOND = entry(at=(1, 7, 0), side="short")


@pytest.mark.parametrize(
    "data",
    [
        frame("snapshot", world_id="other"),
        frame("snapshot", sequence=8),
        frame("snapshot", entries="none"),
        frame("snapshot", entry(strategy_id="other")),
        frame("snapshot", entry(at=(1, 8, 0))),
        frame("snapshot", SECOND, SECOND),
        frame("snapshot", {"activation": None}),
        frame("snapshot", {"activation": wire_activation() | {"weight": 2}}),
        frame("snapshot", {"activation": wire_activation() | {"weight": 0.13}}),
        frame("snapshot", entry() | {"changes_at_ms": "soon"}),
        frame("heartbeat", server_ms="now"),
        frame("heartbeat", lease_ms=True),
        frame("heartbeat").replace(b"id: 1.7.0", b"id: 1.7.0-x"),
        frame("heartbeat").replace(b"id: 1.7.0\n", b""),
        frame("heartbeat").replace(b"50000.0", b"NaN"),
        frame("heartbeat").replace(b"50000.0", b"1e999"),
        b"event: heartbeat\nid: 1.7.0\ndata: [\n\n",
        b"event: heartbeat\nid: 1.7.0\ndata: " + b"[" * 100_000 + b"\n\n",
    ],
    ids=lambda data: data[:20].decode() + str(len(data)),
)
def test_frame_that_proves_nothing_is_refused(data: bytes) -> None:
    with pytest.raises(ReplyInvalidError):
        frames_of(data)


def test_newer_server_may_say_more() -> None:
    body = wire_activation(added="later")

    [told] = frames_of(frame("snapshot", {"activation": body, "changes_at_ms": None, "more": 1}, more=json.dumps({})))

    assert isinstance(told, Frame)
    assert told.entries["long"].activation.active
