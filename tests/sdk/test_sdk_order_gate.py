"""The gate between its polls: what renews it, what does not, and that it closes by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from qmtl_worlds.contracts.activation import ActivationEnvelope, GateLevel
from qmtl_worlds.contracts.errors import NotAllowedError
from qmtl_worlds.sdk.errors import ReplyInvalidError, ServerUnreachableError
from qmtl_worlds.sdk.gate import OrderGate
from qmtl_worlds.sdk.permission import ActivationReading
from qmtl_worlds.sdk.verdict import GateStatus
from tests.sdk.activations import STRATEGY, WORLD, Clock, PlayedSource, activation, shut

Answer = ActivationEnvelope | Exception | None


class Scene:
    """A gate for the long side whose next answer is ``answer`` with ``lease_ms``, sent at the clock's time."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.answer: Answer = activation()
        self.lease_ms = 5000.0
        self.source = PlayedSource(self._play)
        self.gate = OrderGate(self.source, world_id=WORLD, strategy_id=STRATEGY, sides=["long"], monotonic=self.clock)

    def _play(self, _side: str, _known_etag: str | None) -> ActivationReading:
        if isinstance(self.answer, Exception):
            raise self.answer
        return ActivationReading(self.answer, lease_ms=self.lease_ms, sent_at=self.clock.now)

    def entry_allowed(self) -> bool:
        return self.gate.check("long", reduces=False).allowed


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_gate_without_an_answer_is_closed(scene: Scene) -> None:
    verdict = scene.gate.check("long", reduces=True)

    assert (verdict.allowed, verdict.reason) == (False, "not_ready")
    assert scene.gate.status is GateStatus.NOT_READY


def test_gate_opens_with_a_good_answer_and_closes_when_its_lease_ends(scene: Scene) -> None:
    scene.gate.poll()
    opened = scene.entry_allowed()
    scene.clock.now += 4.999
    still = scene.entry_allowed()
    scene.clock.now += 0.001
    after = scene.entry_allowed()

    assert (opened, still, after) == (True, True, False)
    assert scene.gate.status is GateStatus.STALE
    assert scene.gate.check("long", reduces=True).allowed


def test_gate_counts_the_lease_from_when_the_question_was_sent(scene: Scene) -> None:
    def slow(_side: str, _known_etag: str | None) -> ActivationReading:
        reading = ActivationReading(activation(), lease_ms=5000.0, sent_at=scene.clock.now)
        scene.clock.now += 4.0
        return reading

    scene.source.play = slow
    scene.gate.poll()
    scene.clock.now += 1.0

    assert not scene.entry_allowed()


@pytest.mark.parametrize(
    "answer",
    [
        ServerUnreachableError("gone"),
        ReplyInvalidError("garbage"),
        NotAllowedError("revoked"),
        activation(world_id="other"),
        activation(strategy_id="other"),
        activation(side="short"),
    ],
    ids=["unreachable", "garbage", "revoked", "other-world", "other-strategy", "other-side"],
)
def test_gate_is_not_renewed_by_a_bad_answer(scene: Scene, answer: Answer) -> None:
    scene.gate.poll()
    scene.clock.now += 3.0
    scene.answer = answer

    scene.gate.poll()
    within = scene.entry_allowed()
    scene.clock.now += 2.0

    assert within
    assert not scene.entry_allowed()
    assert scene.gate.status is GateStatus.ERROR
    assert scene.gate.failure is not None


def test_gate_is_renewed_by_nothing_has_changed(scene: Scene) -> None:
    scene.gate.poll()
    scene.clock.now += 3.0
    scene.answer = None

    scene.gate.poll()
    scene.clock.now += 4.0

    assert scene.entry_allowed()
    assert scene.source.asked[1] == (WORLD, STRATEGY, "long", activation().etag)
    assert scene.source.client_ids == {scene.gate.client_id}


def test_gate_does_not_open_on_nothing_has_changed_without_an_answer_before(scene: Scene) -> None:
    scene.answer = None

    scene.gate.poll()

    assert not scene.gate.check("long", reduces=True).allowed


@pytest.mark.parametrize("lease_ms", [0.0, -1.0, float("nan"), float("inf"), 60_001.0])
def test_gate_takes_no_permission_from_an_impossible_lease(scene: Scene, lease_ms: float) -> None:
    scene.lease_ms = lease_ms

    scene.gate.poll()

    assert not scene.entry_allowed()
    assert scene.gate.check("long", reduces=True).allowed


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (activation(at=(1, 7, 0)), shut(GateLevel.REDUCE_ONLY, at=(1, 8, 0))),
        (activation(at=(1, 9, 0)), shut(GateLevel.REDUCE_ONLY, at=(2, 1, 0))),
        (activation(at=(1, 7, 0)), shut(GateLevel.CLOSED, at=(1, 7, 1), reason="killed")),
    ],
    ids=["sequence", "incarnation", "kill"],
)
def test_gate_ignores_an_answer_older_than_the_one_it_holds(
    scene: Scene, older: ActivationEnvelope, newer: ActivationEnvelope
) -> None:
    scene.answer = newer
    scene.gate.poll()
    scene.answer = older
    scene.clock.now += 3.0

    scene.gate.poll()
    verdict = scene.gate.check("long", reduces=False)
    scene.clock.now += 2.0

    assert (verdict.allowed, verdict.reason) == (False, newer.reason)
    assert scene.gate.check("long").reason == "expired"


def test_gate_follows_a_newer_answer_at_once(scene: Scene) -> None:
    scene.gate.poll()
    scene.answer = shut(GateLevel.CLOSED, at=(1, 8, 0), reason="killed")

    scene.gate.poll()

    assert not scene.gate.check("long", reduces=True).allowed


def test_gate_is_closed_for_a_side_it_was_not_made_for(scene: Scene) -> None:
    scene.gate.poll()

    assert not scene.gate.check("short", reduces=True).allowed
    assert not scene.gate.check("", reduces=True).allowed


def test_gate_refuses_a_client_that_counts_on_another_clock(scene: Scene) -> None:
    late = PlayedSource(lambda _side, _etag: ActivationReading(activation(), 5000.0, sent_at=scene.clock.now + 0.001))
    gate = OrderGate(late, world_id=WORLD, strategy_id=STRATEGY, sides=["long"], monotonic=scene.clock)
    gate.poll()

    assert not gate.check("long", reduces=True).allowed
    assert "clock" in (gate.failure or "")


def test_gate_judges_its_sides_apart() -> None:
    clock = Clock()

    def play(side: str, _known_etag: str | None) -> ActivationReading:
        if side == "short":
            raise ServerUnreachableError("gone")
        return ActivationReading(activation(), lease_ms=5000.0, sent_at=clock.now)

    gate = OrderGate(PlayedSource(play), world_id=WORLD, strategy_id=STRATEGY, monotonic=clock)
    gate.poll()

    assert gate.check("long").allowed
    assert not gate.check("short", reduces=True).allowed
    assert gate.status is GateStatus.ERROR


@pytest.mark.parametrize(("lease_ms", "pause"), [(6000.0, 2.0), (3.0, 0.05), (0.0, 1.0)])
def test_gate_asks_again_at_a_third_of_the_lease(scene: Scene, lease_ms: float, pause: float) -> None:
    scene.lease_ms = lease_ms

    assert scene.gate.poll() == pytest.approx(pause)


def test_gate_goes_on_at_the_pace_of_a_short_lease_when_an_answer_stays_away(scene: Scene) -> None:
    scene.lease_ms = 900.0
    scene.gate.poll()
    scene.answer = ServerUnreachableError("gone")

    assert scene.gate.poll() == pytest.approx(0.3)


def test_gate_does_not_wait_long_for_a_server_that_went_away(scene: Scene) -> None:
    scene.lease_ms = 60_000.0
    scene.gate.poll()
    scene.answer = ServerUnreachableError("gone")

    assert scene.gate.poll() == pytest.approx(1.0)


def test_started_gate_becomes_ready_and_closes_when_stopped() -> None:
    source = PlayedSource(lambda _side, _etag: ActivationReading(activation(), lease_ms=5000.0, sent_at=1000.0))
    gate = OrderGate(source, world_id=WORLD, strategy_id=STRATEGY, sides=["long"], monotonic=Clock())

    with gate:
        ready = gate.wait_until_ready(5.0)
        opened = gate.check("long").allowed

    assert (ready, opened) == (True, True)
    assert not gate.check("long", reduces=True).allowed
    assert source.closed == 1


def test_started_gate_survives_a_defect_and_stays_closed(caplog: pytest.LogCaptureFixture) -> None:
    struck = threading.Event()

    def broken(_side: str, _known_etag: str | None) -> ActivationReading:
        struck.set()
        raise ZeroDivisionError

    play: Callable[[str, str | None], ActivationReading] = broken
    gate = OrderGate(PlayedSource(play), world_id=WORLD, strategy_id=STRATEGY, sides=["long"], monotonic=Clock())

    with gate:
        assert struck.wait(5.0)

    assert not gate.check("long", reduces=True).allowed
    assert "went wrong" in caplog.text
