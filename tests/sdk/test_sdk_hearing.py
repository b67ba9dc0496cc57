"""What frames do to what is held: the newest state, for as long as it was proven, however the line treats them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl_worlds.contracts.lease import EXPIRED
from qmtl_worlds.sdk.errors import ReplyInvalidError, StreamEndedError
from qmtl_worlds.sdk.hearing import Book, Heard, Hearing, is_outdated
from qmtl_worlds.sdk.permission import ActivationReading, Permission, no_permission, renew
from qmtl_worlds.sdk.verdict import GateRules
from tests.sdk.activations import STRATEGY, WORLD, activation
from tests.sdk.wire import SHUT, end_frame, entry, frame, shut_frame

RULES = GateRules()
NOTHING: Book = {"long": no_permission(RULES)}


def hearing(*, sent_at: float = 100.0) -> Hearing:
    return Hearing(sent_at=sent_at, world_id=WORLD, strategy_id=STRATEGY, rules=RULES)


def after(line: Hearing, book: Book, *data: bytes, now: float = 101.0) -> tuple[Permission, list[Heard]]:
    """Return what is held for the long side after all of ``data``."""
    heard = []
    for frame_ in (frame_ for part in data for frame_ in line.read(part)):
        book, came = line.hear(book, frame_, now=now)
        heard.append(came)
    return book["long"], heard


def entry_allowed(held: Permission, *, now: float) -> bool:
    return (held.entry if now < held.deadline else held.late_entry).allowed


def test_first_state_counts_from_when_the_request_was_sent() -> None:
    held, heard = after(hearing(), NOTHING, frame("snapshot"), now=103.0)

    assert heard == [Heard.TAKEN]
    assert held.deadline == pytest.approx(105.0)
    assert held.entry.allowed


def test_later_frame_counts_by_the_servers_clock_and_not_by_its_arrival() -> None:
    held, heard = after(hearing(), NOTHING, frame("snapshot"), frame("heartbeat", server_ms=52_000), now=104.0)

    assert heard == [Heard.TAKEN, Heard.RENEWED]
    assert held.deadline == pytest.approx(106.998)


def test_frame_cannot_count_from_a_time_after_its_arrival() -> None:
    held, _ = after(hearing(), NOTHING, frame("snapshot"), frame("heartbeat", server_ms=9e9), now=101.0)

    assert held.deadline == pytest.approx(106.0)


def test_newer_state_is_taken_and_an_older_one_is_refused() -> None:
    line = hearing()
    book: Book = {"long": after(line, NOTHING, frame("snapshot"), shut_frame())[0]}

    held, heard = after(line, book, frame("activation", server_ms=52_000), frame("heartbeat", server_ms=52_000))

    assert heard == [Heard.REFUSED, Heard.REFUSED]
    assert held is book["long"]
    assert not held.entry.allowed


def test_repeated_and_late_frames_of_the_same_state_change_nothing() -> None:
    line = hearing()
    book: Book = {"long": after(line, NOTHING, frame("snapshot"), frame("heartbeat", server_ms=53_000))[0]}

    held, heard = after(line, book, frame("snapshot"), frame("heartbeat", server_ms=51_000))

    assert heard == [Heard.REFUSED, Heard.REFUSED]
    assert held is book["long"]


def test_state_of_the_past_that_was_late_on_the_way_closes_at_once() -> None:
    line = hearing()
    after(line, NOTHING, frame("snapshot", server_ms=53_000))
    book: Book = {"long": after(hearing(), NOTHING, frame("snapshot"))[0]}

    held, heard = after(line, book, shut_frame(server_ms=52_000))

    assert heard == [Heard.TAKEN]
    assert (held.entry.allowed, held.deadline) == (False, EXPIRED)


def test_kill_of_the_same_sequence_is_taken() -> None:
    killed = frame("activation", entry(at=(1, 7, 1), **{**SHUT, "gate": "closed", "reason": "killed"}), at=(1, 7, 1))

    held, _ = after(hearing(), NOTHING, frame("snapshot"), killed)

    assert (held.entry.reason, held.exit.allowed) == ("killed", False)


@pytest.mark.parametrize("lease_ms", [0, -1, 60_001])
def test_frame_without_a_lease_permits_nothing(lease_ms: float) -> None:
    held, _ = after(hearing(), NOTHING, frame("snapshot"), frame("heartbeat", server_ms=51_000, lease_ms=lease_ms))

    assert held.deadline == EXPIRED


def test_activation_that_changes_by_itself_is_not_renewed_past_that() -> None:
    told = entry(changes_at_ms=52_000)
    line = hearing()

    held, _ = after(line, NOTHING, frame("snapshot", told), frame("heartbeat", server_ms=51_500), now=101.5)

    assert held.deadline == pytest.approx(101.998)
    assert not is_outdated({"long": held}, now=101.9)
    assert is_outdated({"long": held}, now=102.0)


def test_renewal_of_a_state_that_was_not_told_asks_for_a_new_connection() -> None:
    line = hearing()
    book: Book = {"long": after(line, NOTHING, frame("snapshot"))[0]}

    with pytest.raises(ReplyInvalidError, match="not told in full"):
        after(line, book, frame("heartbeat", at=(1, 9, 0)))


def test_renewal_of_what_only_a_poll_has_told_is_no_proof() -> None:
    polled = renew(NOTHING["long"], ActivationReading(activation(), 5000.0, 100.0), rules=RULES)

    with pytest.raises(ReplyInvalidError):
        after(hearing(), {"long": polled}, frame("heartbeat"))


def test_stream_after_a_poll_takes_the_same_state_again_and_then_renews_it() -> None:
    polled = renew(NOTHING["long"], ActivationReading(activation(), 5000.0, 90.0), rules=RULES)

    held, heard = after(hearing(), {"long": polled}, frame("snapshot"), frame("heartbeat", server_ms=51_000))

    assert heard == [Heard.TAKEN, Heard.RENEWED]
    assert held.ends_at == math.inf


def test_end_of_the_stream_is_told() -> None:
    with pytest.raises(StreamEndedError, match="revoked"):
        after(hearing(), NOTHING, end_frame("revoked"))


def test_unconfirmed_answer_neither_replaces_what_is_known_nor_stays() -> None:
    unsure = activation(**{**SHUT, "reason": "unconfirmed"})
    open_held = renew(NOTHING["long"], ActivationReading(activation(), 5000.0, 100.0), rules=RULES)

    kept = renew(open_held, ActivationReading(unsure, 0.0, 101.0), rules=RULES)
    first = renew(NOTHING["long"], ActivationReading(unsure, 0.0, 101.0), rules=RULES)
    then = renew(first, ActivationReading(activation(), 5000.0, 102.0), rules=RULES)

    assert kept is open_held
    assert (first.deadline, first.late_exit.allowed) == (EXPIRED, True)
    assert entry_allowed(then, now=103.0)


LEASE = 5.0
STATES = {sequence: sequence % 2 == 1 for sequence in range(7, 15)}
"""Whether the gate is open at each sequence."""


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(7, 14),
            st.floats(0, 20, allow_nan=False),
            st.floats(0, 30, allow_nan=False),
            st.booleans(),
            st.booleans(),
        ),
        min_size=1,
        max_size=12,
    ),
    st.floats(0.0, 5.0),
    st.floats(0.9991, 1.0009),
)
def test_no_delay_order_or_repeat_of_frames_lengthens_a_permission(
    plan: list[tuple[int, float, float, bool, bool]], first_delay: float, drift: float
) -> None:
    """Frames are made at true times and arrive whenever; an open gate is always one that some frame allows then."""
    line, book = hearing(sent_at=100.0), NOTHING
    made = [(7, first_delay, first_delay, False, False), *plan]
    frames = []
    for sequence, at, delay, beat, twice in made:
        at = max(at, first_delay)  # noqa: PLW2901 - none is made before the request came
        body = _wire(sequence, server_ms=50_000 + 1000 * (at - first_delay) * drift, beat=beat)
        frames += [(100.0 + at + delay * copy, 100.0 + at, sequence, body) for copy in ((1, 1.5) if twice else (1,))]
    first, *rest = frames
    allowed: dict[int, float] = {}
    newest = 0
    for arrived, true_time, sequence, body in [first, *sorted(rest)]:
        try:
            for told in line.read(body):
                book, _ = line.hear(book, told, now=max(arrived, 100.0 + first_delay))
        except ReplyInvalidError:
            continue
        allowed[sequence] = max(allowed.get(sequence, 0.0), true_time + LEASE)
        held = book["long"]
        assert held.activation is not None
        newest = max(newest, held.activation.sequence)
        assert held.activation.sequence == newest
        assert held.entry.allowed == STATES[newest]
        assert held.deadline <= allowed[newest] + 1e-6


def _wire(sequence: int, *, server_ms: float, beat: bool) -> bytes:
    at = (1, sequence, 0)
    if beat:
        return frame("heartbeat", at=at, server_ms=server_ms, lease_ms=LEASE * 1000)
    told = entry(at=at) if STATES[sequence] else entry(at=at, **SHUT)
    return frame("activation", told, at=at, server_ms=server_ms, lease_ms=LEASE * 1000)
