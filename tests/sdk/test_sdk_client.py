"""What the client sends, what it repeats, and what it makes of replies."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from qmtl_worlds.contracts.errors import (
    ApprovalNeedsSessionError,
    InputInvalidError,
    NotFoundError,
    PolicyInvalidError,
    RunIdReusedError,
    UnavailableError,
    WorldBusyError,
)
from qmtl_worlds.contracts.faults import Fault
from qmtl_worlds.sdk.client import Binding, WorldsClient
from qmtl_worlds.sdk.errors import ReplyInvalidError, ResponseError, ServerUnreachableError
from qmtl_worlds.sdk.series import Series
from qmtl_worlds.sdk.transport import Reply, Request
from tests.sdk.activations import STRATEGY, WORLD, activation, wire_activation

TOKEN = "qw_runner_1_canary-secret_0"


@dataclass(slots=True)
class PlayedTransport:
    """Plays replies in turn and keeps the requests; the last reply repeats."""

    replies: list[Reply | Exception]
    sent: list[Request] = field(default_factory=list)

    def send(self, request: Request) -> Reply:
        self.sent.append(request)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        return reply

    def close(self) -> None:
        pass


def reply(status: int = 200, body: object = None, **headers: str) -> Reply:
    data = b"" if body is None else json.dumps(body).encode()
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, data, sent_at=10.0)


def problem(status: int, code: str, **facts: object) -> Reply:
    return reply(status, {"type": f"urn:qmtl-worlds:{code}", "title": "t", "status": status, "detail": "why", **facts})


def client_of(*replies: Reply | Exception) -> tuple[WorldsClient, PlayedTransport, list[float]]:
    pauses: list[float] = []
    transport = PlayedTransport(list(replies))
    client = WorldsClient("http://127.0.0.1:1", TOKEN, transport=transport, pause=pauses.append)
    return client, transport, pauses


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (problem(409, "world-busy", holder_run_id="r1"), WorldBusyError),
        (problem(409, "run-id-reused"), RunIdReusedError),
        (problem(403, "approval-needs-session"), ApprovalNeedsSessionError),
        (problem(404, "something-newer"), NotFoundError),
        (reply(503, None), UnavailableError),
    ],
)
def test_refusal_raises_the_class_of_its_code(answer: Reply, kind: type[Exception]) -> None:
    client, _, _ = client_of(answer)

    with pytest.raises(kind):
        client.health()


def test_refusal_keeps_detail_and_facts() -> None:
    client, _, _ = client_of(problem(409, "world-busy", holder_run_id="r1"))

    with pytest.raises(WorldBusyError, match="why") as caught:
        client.apply(WORLD, run_id="r2")

    assert caught.value.facts["holder_run_id"] == "r1"


def test_policy_refusal_lists_every_fault() -> None:
    fault = {"path": "selection.score", "line": 3, "column": 9, "code": "unknown-metric", "message": "sharp is unknown"}
    client, _, _ = client_of(problem(422, "policy-invalid", faults=[fault, fault | {"line": 4}]))

    with pytest.raises(PolicyInvalidError) as caught:
        client.add_policy(WORLD, "world: x")

    assert [error.line for error in caught.value.faults] == [3, 4]
    assert caught.value.faults[0] == Fault(3, 9, "selection.score", "unknown-metric", "sharp is unknown")


def test_refusal_in_unknown_words_is_a_response_error() -> None:
    client, _, _ = client_of(Reply(401, {}, b"<html>", 0.0))

    with pytest.raises(ResponseError, match="401"):
        client.health()


def test_token_is_sent_and_appears_in_no_repr_or_error() -> None:
    client, transport, _ = client_of(ServerUnreachableError("gone"))

    with pytest.raises(ServerUnreachableError) as caught:
        client.create_world(WORLD)

    assert transport.sent[0].headers["Authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in repr(transport.sent[0]) + repr(client) + repr(caught.value)


@pytest.mark.parametrize("away", [reply(503), reply(502), ServerUnreachableError("gone")])
def test_writes_with_a_run_id_are_repeated_as_the_same_request(away: Reply | Exception) -> None:
    client, transport, pauses = client_of(away, away, reply(200, {"ok": True}))

    answer = client.apply(WORLD)

    assert answer == {"ok": True}
    assert len(transport.sent) == 3
    assert len({request.headers["X-Request-ID"] for request in transport.sent}) == 1
    assert len({request.body for request in transport.sent}) == 1
    assert pauses == [0.1, 0.2]


@pytest.mark.parametrize(
    "write",
    [
        lambda client: client.create_world(WORLD),
        lambda client: client.add_policy(WORLD, "world: x"),
        lambda client: client.act_on_apply(WORLD, "r1", "abort", reason="no"),
    ],
)
def test_other_writes_are_sent_once(write: Callable[[WorldsClient], object]) -> None:
    client, transport, pauses = client_of(ServerUnreachableError("gone"))

    with pytest.raises(ServerUnreachableError):
        write(client)

    assert len(transport.sent) == 1
    assert pauses == []


def test_ids_are_checked_before_anything_is_sent() -> None:
    client, transport, _ = client_of(reply(200, {}))

    with pytest.raises(InputInvalidError):
        client.world("../admin")
    with pytest.raises(InputInvalidError):
        client.explain(WORLD, "a/b", "long")

    assert transport.sent == []


def test_bind_sends_identity_and_sector() -> None:
    client, transport, _ = client_of(reply(200, {"strategies": [STRATEGY]}))

    client.bind(WORLD, [Binding(STRATEGY, "short", {"fast": 5}, sector="Software")])

    assert transport.sent[0].target == "/worlds/crypto/bindings"
    assert json.loads(transport.sent[0].body or b"") == {
        "strategies": [{"strategy_id": STRATEGY, "side": "short", "params": {"fast": 5}, "sector": "Software"}]
    }


def test_push_returns_chooses_the_form_that_loses_nothing() -> None:
    client, transport, _ = client_of(reply(200, {}))

    client.push_returns(WORLD, STRATEGY, "long", Series([1], [0.5]))
    client.push_returns(WORLD, STRATEGY, "long", Series([1], [0.5], trades=[1]))
    client.push_returns(WORLD, STRATEGY, "long", Series([1], [0.5]), revise=True)

    kinds = [request.headers["Content-Type"] for request in transport.sent]
    assert kinds == ["application/octet-stream", "application/json", "application/json"]
    assert {request.target for request in transport.sent} == {
        "/worlds/crypto/strategies/sma-5-20.AAPL/returns?side=long"
    }


def test_evaluate_waits_with_one_run_id_until_the_run_is_done() -> None:
    client, transport, _ = client_of(reply(202, {"evaluation_run_url": "/x"}), reply(200, {"verdict": "ok"}))

    answer = client.evaluate(WORLD, record=True)

    assert answer["verdict"] == "ok"
    assert len({request.body for request in transport.sent}) == 1
    assert transport.sent[0].headers["Prefer"] == "wait=10"


def test_evaluate_gives_up_after_its_time() -> None:
    now = [0.0]
    transport = PlayedTransport([reply(202, {})])

    def pause(_seconds: float) -> None:
        now[0] += 20.0

    client = WorldsClient("http://127.0.0.1:1", TOKEN, transport=transport, pause=pause, monotonic=lambda: now[0])

    with pytest.raises(TimeoutError, match="r1"):
        client.evaluate(WORLD, run_id="r1", timeout_seconds=30.0)

    assert len(transport.sent) == 2


def test_activation_keeps_lease_and_time_of_sending() -> None:
    client, transport, _ = client_of(reply(200, wire_activation(), lease_ms="4200", etag=f'"{activation().etag}"'))

    reading = client.activation(WORLD, STRATEGY, "long", consistent=True)

    assert (reading.envelope, reading.lease_ms, reading.sent_at) == (activation(), 4200.0, 10.0)
    assert transport.sent[0].target == "/worlds/crypto/activation?strategy_id=sma-5-20.AAPL&side=long&consistent=true"


def test_activation_that_has_not_changed_has_no_envelope() -> None:
    etag = activation().etag
    client, transport, _ = client_of(reply(304, None, lease_ms="4200", etag=f'"{etag}"'))

    reading = client.activation(WORLD, STRATEGY, "long", known_etag=etag, client_id="me")

    assert reading.envelope is None
    assert transport.sent[0].target == "/worlds/crypto/activation?strategy_id=sma-5-20.AAPL&side=long&client_id=me"
    assert transport.sent[0].headers["If-None-Match"] == f'"{etag}"'


@pytest.mark.parametrize(
    "answer",
    [
        reply(200, wire_activation()),
        reply(200, wire_activation(), lease_ms="soon"),
        reply(200, wire_activation() | {"weight": 1.5}, lease_ms="5000"),
        reply(200, wire_activation() | {"active": "yes"}, lease_ms="5000"),
        reply(200, [], lease_ms="5000"),
        reply(200, wire_activation(), lease_ms="5000", etag='"1.1.1-other"'),
        reply(202, wire_activation(), lease_ms="5000"),
        reply(304, None, lease_ms="5000"),
        Reply(200, {"lease-ms": "5000"}, b'{"weight": NaN}', 0.0),
        Reply(200, {"lease-ms": "5000"}, b"[" * 100_000, 0.0),
        Reply(200, {"lease-ms": "5000"}, b"\xff\xfe", 0.0),
        Reply(302, {"lease-ms": "5000"}, b"", 0.0),
    ],
    ids=str,
)
def test_activation_that_cannot_be_relied_on_is_an_error(answer: Reply) -> None:
    client, transport, _ = client_of(answer)

    with pytest.raises(ReplyInvalidError):
        client.activation(WORLD, STRATEGY, "long")

    assert len(transport.sent) == 1


def test_activation_is_never_repeated() -> None:
    client, transport, pauses = client_of(reply(503))

    with pytest.raises(UnavailableError):
        client.activation(WORLD, STRATEGY, "long")

    assert (len(transport.sent), pauses) == (1, [])
