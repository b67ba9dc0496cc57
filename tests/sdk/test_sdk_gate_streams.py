"""A started gate: it listens, asks while it cannot, comes back, says what it heard, and stops at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.sdk.errors import SdkError, ServerUnreachableError
from qmtl_worlds.sdk.gate import OrderGate
from qmtl_worlds.sdk.line import LineSettings
from qmtl_worlds.sdk.permission import ActivationReading
from qmtl_worlds.sdk.verdict import GateRules, GateStatus
from tests.sdk.activations import STRATEGY, WORLD, Clock, PlayedSource, activation
from tests.sdk.wire import SHUT, PlayedServer, PlayedStream, end_frame, entry, frame, shut_frame
from tests.unit.embedded.waiting import eventually

NAMED = LineSettings(client_id="me")


@contextmanager
def started(server: PlayedServer, *, line: LineSettings = NAMED) -> Iterator[OrderGate]:
    """A running gate for the long side, on a clock that stands at 101 seconds."""
    gate = gate_of(server, line=line)
    gate.start()
    try:
        yield gate
    finally:
        gate.stop()


def gate_of(server: PlayedServer, *, line: LineSettings = NAMED) -> OrderGate:
    return OrderGate(
        server,
        world_id=WORLD,
        strategy_id=STRATEGY,
        sides=["long"],
        rules=GateRules(line=line),
        monotonic=Clock(101.0),
    )


def polled() -> ActivationReading:
    return ActivationReading(activation(at=(1, 9, 0)), lease_ms=5000.0, sent_at=101.0)


def soon(is_so: Callable[[], bool]) -> None:
    assert eventually(is_so)


def test_gate_opens_by_the_stream_and_follows_it() -> None:
    stream = PlayedStream(100.0)
    server = PlayedServer([stream])

    with started(server) as gate:
        stream.parts.put(frame("snapshot"))
        ready = gate.wait_until_ready(20)
        opened = gate.check("long")
        stream.parts.put(shut_frame())
        soon(lambda: not gate.check("long").allowed)
        shut = gate.check("long")

    assert (ready, opened.allowed, shut.reason) == (True, True, "freeze")
    assert server.opened == [("me", None)]
    assert server.asked == []


def test_gate_gives_a_silent_stream_up_before_the_lease_ends() -> None:
    stream = PlayedStream(100.0)

    with started(PlayedServer([stream])) as gate:
        stream.parts.put(frame("snapshot", lease_ms=3000))
        gate.wait_until_ready(20)
        soon(lambda: len(stream.timeouts) == 2)

    assert stream.timeouts == pytest.approx([2.0, 2.0])
    assert stream.timeouts[1] < 3.0


def test_gate_gives_a_stream_up_that_is_behind_by_half_of_its_lease() -> None:
    slow, quick = PlayedStream(98.4), PlayedStream(98.6)
    slow.parts.put(frame("snapshot"))
    quick.parts.put(frame("snapshot"))
    server = PlayedServer([slow, quick])
    gate = gate_of(server)

    gate._listen_and_tell()  # noqa: SLF001 - the thread would come back only after a pause
    behind = gate.failure
    quick.parts.put(ServerUnreachableError("reset"))
    gate._listen_and_tell()  # noqa: SLF001

    assert "behind" in (behind or "")
    assert "reset" in (gate.failure or "")
    assert len(server.opened) == 2


@pytest.mark.parametrize("broken", [b"", ServerUnreachableError("reset"), b"event: heartbeat\ndata: x\n\n"])
def test_gate_asks_while_there_is_no_stream(broken: bytes | Exception) -> None:
    stream = PlayedStream(100.0)
    server = PlayedServer([stream], poll=polled)

    with started(server) as gate:
        stream.parts.put(frame("snapshot"))
        stream.parts.put(broken)
        soon(lambda: gate.counts.polls > 0)
        status = gate.status

    assert status is GateStatus.READY
    assert server.asked[0] == (WORLD, STRATEGY, "long", activation().etag)


def test_gate_whose_stream_and_polls_fail_stays_open_to_the_end_of_its_lease_and_says_what_is_wrong() -> None:
    stream = PlayedStream(100.0)

    with started(PlayedServer([stream])) as gate:
        stream.parts.put(frame("snapshot"))
        gate.wait_until_ready(20)
        stream.parts.put(ServerUnreachableError("reset"))
        soon(lambda: gate.failure is not None)
        still = gate.check("long").allowed

    assert still


def test_gate_closes_at_once_when_the_server_ends_its_stream() -> None:
    stream = PlayedStream(100.0)

    with started(PlayedServer([stream])) as gate:
        stream.parts.put(frame("snapshot"))
        gate.wait_until_ready(20)
        stream.parts.put(end_frame("revoked"))
        soon(lambda: not gate.check("long").allowed)
        status = gate.status

    assert status is GateStatus.ERROR


def resumed(first: list[bytes | Exception]) -> str | None:
    """Return what the second connection asked to go on behind."""
    streams = [PlayedStream(100.0), PlayedStream(101.0)]
    server = PlayedServer(streams)
    for part in first:
        streams[0].parts.put(part)
    gate = gate_of(server)
    gate._listen_and_tell()  # noqa: SLF001 - the thread would come back only after a pause
    gate._open(server)  # noqa: SLF001
    return server.opened[1][1]


@pytest.mark.parametrize(
    ("first", "behind"),
    [
        ([b"retry: 1\n\n" + frame("snapshot"), ServerUnreachableError("reset")], "1.7.0"),
        ([frame("snapshot"), frame("heartbeat", at=(1, 9, 0))], None),
        ([frame("snapshot", entry(changes_at_ms=50_900))], None),
        ([ServerUnreachableError("reset")], None),
    ],
    ids=["broken", "gap", "outdated", "nothing"],
)
def test_gate_goes_on_behind_what_it_heard_only_where_that_still_counts(
    first: list[bytes | Exception], behind: str | None
) -> None:
    assert resumed(first) == behind


def test_gate_says_how_far_it_has_heard_and_what_is_flat() -> None:
    stream = PlayedStream(100.0)
    server = PlayedServer([stream])
    told: list[InstanceKey] = []

    gate = gate_of(server).on_flatten(told.append)
    with gate:
        stream.parts.put(frame("snapshot", entry(**{**SHUT, "reason": "awaiting_flat"})))
        plain = server.acknowledged.get(timeout=20)
        answer = gate.acknowledge_flat()
        flat = server.acknowledged.get(timeout=20)

    key = InstanceKey(STRATEGY, Side.LONG)
    assert plain == ("me", "1.7.0", [])
    assert flat == ("me", "1.7.0", [key.text])
    assert answer["released"] == [key.text]
    assert told == [key]


def test_gate_that_has_heard_nothing_acknowledges_nothing() -> None:
    with pytest.raises(SdkError, match="nothing was heard"):
        gate_of(PlayedServer([])).acknowledge_flat()


def test_callback_that_fails_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    stream = PlayedStream(100.0)
    server = PlayedServer([stream])

    def broken(_key: InstanceKey) -> None:
        raise ZeroDivisionError

    with gate_of(server).on_flatten(broken) as gate:
        stream.parts.put(frame("snapshot", entry(**{**SHUT, "reason": "awaiting_flat"})))
        server.acknowledged.get(timeout=20)
        status = gate.status

    assert status is GateStatus.READY
    assert "Telling the program" in caplog.text


def test_gate_without_streams_only_asks() -> None:
    server = PlayedServer([PlayedStream(100.0)], poll=polled)

    with started(server, line=LineSettings(stream=False)) as gate:
        ready = gate.wait_until_ready(20)

    assert ready
    assert server.opened == []


def test_gate_whose_settings_do_not_go_with_the_world_stays_closed(caplog: pytest.LogCaptureFixture) -> None:
    stream = PlayedStream(100.0)
    server = PlayedServer([stream], poll=polled, lease=1.0)

    with started(server, line=LineSettings(poll_seconds=2.0)) as gate:
        soon(lambda: gate.failure is not None)
        verdict, status = gate.check("long", reduces=True), gate.status

    assert (verdict.allowed, status) == (False, GateStatus.ERROR)
    assert (server.opened, server.asked) == ([], [])
    assert "poll_seconds is 2" in caplog.text


def test_gate_may_be_stopped_by_a_signal_handler() -> None:
    stream = PlayedStream(100.0)

    with started(PlayedServer([stream])) as gate:
        stream.parts.put(frame("snapshot"))
        gate.wait_until_ready(20)
        before = signal.signal(signal.SIGUSR1, lambda *_: gate.request_stop())
        os.kill(os.getpid(), signal.SIGUSR1)
        closed = not gate.check("long", reduces=True).allowed
        signal.signal(signal.SIGUSR1, before)

    assert closed


def test_gate_takes_nothing_once_it_was_asked_to_stop() -> None:
    gate = OrderGate(PlayedSource(lambda _side, _etag: polled()), world_id=WORLD, strategy_id=STRATEGY, sides=["long"])

    gate.request_stop()
    gate.poll()

    assert not gate.check("long", reduces=True).allowed


def test_gate_of_a_parent_is_closed_in_its_child() -> None:
    gate = OrderGate(
        PlayedSource(lambda _side, _etag: polled()),
        world_id=WORLD,
        strategy_id=STRATEGY,
        sides=["long"],
        monotonic=Clock(101.0),
    )
    gate.poll()
    assert gate.check("long").allowed

    child = os.fork()
    if not child:
        os._exit(int(gate.check("long", reduces=True).allowed))
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert gate.check("long").allowed
