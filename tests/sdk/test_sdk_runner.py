"""Submitting a strategy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from qmtl_worlds.contracts.errors import SeriesConflictError
from qmtl_worlds.sdk import runner as runner_module
from qmtl_worlds.sdk.client import Binding, WorldsClient
from qmtl_worlds.sdk.coverage import SeamlessCoverage
from qmtl_worlds.sdk.errors import ReplyInvalidError, ServerUnreachableError
from qmtl_worlds.sdk.runner import Runner, SubmitStatus
from qmtl_worlds.sdk.series import Series
from qmtl_worlds.sdk.transport import Reply, Request
from tests.sdk.activations import STRATEGY, WORLD, wire_activation

KEY = f"{STRATEGY}|long"
CLOSED: dict[str, object] = {"active": False, "weight": 0.0, "gate": "reduce_only", "reason": "not_selected"}
DAY = 86_400


class OneStrategy:
    """Three bars of one strategy."""

    binding = Binding(STRATEGY, "long", {"fast": 5}, sector="Software")

    def series(self) -> Series:
        return Series([DAY, 2 * DAY, 3 * DAY], [0.01, 0.0, -0.02], trades=[0, 1, 0])


class Server:
    """Answers by the last word of the path and keeps what was posted; first it is away for so many posts of returns."""

    def __init__(self, answers: Mapping[str, tuple[int, object]], *, away: int = 0) -> None:
        self.answers = {"bindings": (200, {}), "returns": (200, {}), **answers}
        self.posted: list[tuple[str, dict[str, object]]] = []
        self.away = away

    def send(self, request: Request) -> Reply:
        word = request.target.partition("?")[0].rpartition("/")[2]
        if request.body is not None:
            self.posted.append((word, json.loads(request.body)))
        if word == "returns" and self.away:
            self.away -= 1
            raise ServerUnreachableError("gone")
        status, body = self.answers.get(word, (404, {"type": "urn:qmtl-worlds:not-found", "detail": "no"}))
        return Reply(status, {"lease-ms": "0"}, json.dumps(body).encode(), sent_at=0.0)

    def close(self) -> None:
        pass


def runner_of(server: Server, *, pauses: list[float] | None = None) -> Runner:
    """Return a Runner whose clock runs on with its pauses only."""
    waited = [] if pauses is None else pauses
    client = WorldsClient("http://127.0.0.1:1", "token", transport=server, pause=lambda _seconds: None)
    return Runner(client, pause=waited.append, monotonic=lambda: sum(waited))


def test_submit_of_an_active_strategy_returns_its_weight_and_contribution() -> None:
    decision = {"active": [KEY], "contribution": {KEY: 0.0004}, "violations": []}
    server = Server(
        {"activation": (200, wire_activation()), "decide": (200, decision), "explain": (200, {"text": "It is in."})}
    )

    result = runner_of(server).submit(OneStrategy(), world=WORLD)

    assert (result.status, result.weight, result.contribution) == (SubmitStatus.ACTIVE, 0.12, 0.0004)
    assert (result.key.text, result.explanation, result.violations) == (KEY, "It is in.", ())
    assert (result.rows_sent, result.data_end) == (3, datetime(1970, 1, 4, tzinfo=UTC))


def test_submit_binds_before_it_sends_returns() -> None:
    server = Server({"activation": (200, wire_activation())})

    runner_of(server).submit(OneStrategy(), world=WORLD)

    assert [word for word, _ in server.posted] == ["bindings", "returns"]
    assert server.posted[1][1]["ret"] == [0.01, 0.0, -0.02]
    assert server.posted[1][1]["trades"] == [0, 1, 0]


@pytest.mark.parametrize(
    ("decision", "explained", "status"),
    [
        ({"active": [KEY]}, (200, {"text": "Waits for approval."}), SubmitStatus.SELECTED),
        ({"active": ["other|long"]}, (200, {"text": "Its Sharpe is too low."}), SubmitStatus.REJECTED),
        ({"active": []}, (404, {}), SubmitStatus.PENDING),
    ],
)
def test_submit_says_where_a_strategy_without_a_permission_stands(
    decision: object, explained: tuple[int, object], status: SubmitStatus
) -> None:
    server = Server({"activation": (200, wire_activation() | CLOSED), "decide": (200, decision), "explain": explained})

    result = runner_of(server).submit(OneStrategy(), world=WORLD)

    assert (result.status, result.weight, result.reason) == (status, 0.0, "not_selected")


def test_submit_to_a_world_without_a_decision_is_pending() -> None:
    server = Server({"activation": (200, wire_activation() | CLOSED)})

    result = runner_of(server).submit(OneStrategy(), world=WORLD)

    assert (result.status, result.contribution, result.explanation) == (SubmitStatus.PENDING, None, "")


def test_submit_returns_the_violations_of_this_instance_only() -> None:
    mine = {"code": "gate_failed", "key": KEY, "rule": "sharpe_mid >= 0.6", "value": 0.4, "limit": 0.6}
    decision = {"active": [KEY], "violations": [mine, mine | {"key": "other|long"}, mine | {"key": ""}]}
    server = Server({"activation": (200, wire_activation()), "decide": (200, decision)})

    result = runner_of(server).submit(OneStrategy(), world=WORLD)

    assert result.violations == (mine,)


def test_submit_splits_long_histories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "MAX_ROWS_A_CALL", 2)
    server = Server({"activation": (200, wire_activation())})

    runner_of(server).submit(OneStrategy(), world=WORLD)

    assert [body["ret"] for word, body in server.posted if word == "returns"] == [[0.01, 0.0], [-0.02]]


def test_submit_sends_the_same_rows_until_the_server_is_back() -> None:
    server = Server({"activation": (200, wire_activation())}, away=10)
    pauses: list[float] = []

    result = runner_of(server, pauses=pauses).submit(OneStrategy(), world=WORLD)

    sent = [body["ret"] for word, body in server.posted if word == "returns"]
    assert sent == [[0.01, 0.0, -0.02]] * 11
    assert pauses == [0.25, 0.5, 1.0]
    assert result.rows_sent == 3


def test_submit_gives_up_when_its_patience_is_over() -> None:
    server = Server({}, away=10_000)
    pauses: list[float] = []

    with pytest.raises(ServerUnreachableError):
        runner_of(server, pauses=pauses).submit(OneStrategy(), world=WORLD)

    assert 50 < sum(pauses) < 60


@pytest.mark.parametrize(
    ("data_end", "sent"),
    [("1970-01-03T00:00:00Z", [0.0, -0.02]), (None, [0.01, 0.0, -0.02]), ("1969-12-31T00:00:00Z", [0.01, 0.0, -0.02])],
)
def test_submit_goes_on_with_the_last_bar_that_the_server_has(data_end: str | None, sent: list[float]) -> None:
    bound = [
        {"strategy_id": STRATEGY, "side": side, "data_end": end} for side, end in (("short", "x"), ("long", data_end))
    ]
    server = Server({"activation": (200, wire_activation()), "bindings": (200, {"instances": bound})})

    result = runner_of(server).submit(OneStrategy(), world=WORLD, resume=True)

    assert [body["ret"] for word, body in server.posted if word == "returns"] == [sent]
    assert (result.rows_sent, result.data_end) == (len(sent), datetime(1970, 1, 4, tzinfo=UTC))


def test_submit_holds_back_bars_that_the_data_provider_does_not_cover() -> None:
    class Seamless:
        async def coverage(self, *, node_id: str, interval: int) -> list[tuple[int, int]]:
            assert (node_id, interval) == ("prices", DAY)
            return [(2 * DAY, 2 * DAY), (0, DAY)]

    server = Server({"activation": (200, wire_activation())})
    provider = SeamlessCoverage(Seamless(), node_id="prices", interval=DAY)

    result = runner_of(server).submit(OneStrategy(), world=WORLD, data_provider=provider)

    assert (result.rows_sent, result.data_end) == (2, datetime(1970, 1, 3, tzinfo=UTC))


def test_submit_with_a_provider_that_covers_nothing_sends_no_bar() -> None:
    class Empty:
        def coverage(self) -> list[tuple[int, int]]:
            return []

    server = Server({"activation": (200, wire_activation())})

    result = runner_of(server).submit(OneStrategy(), world=WORLD, data_provider=Empty())

    assert [word for word, _ in server.posted] == ["bindings"]
    assert (result.rows_sent, result.data_end) == (0, None)


def test_submit_passes_a_refusal_on() -> None:
    conflict = {"type": "urn:qmtl-worlds:series-conflict", "detail": "Row 1 differs.", "row": 1}
    server = Server({"returns": (409, conflict)})

    with pytest.raises(SeriesConflictError, match="Row 1"):
        runner_of(server).submit(OneStrategy(), world=WORLD)


def test_submit_does_not_believe_an_activation_of_another_strategy() -> None:
    server = Server({"activation": (200, wire_activation(strategy_id="other"))})

    with pytest.raises(ReplyInvalidError):
        runner_of(server).submit(OneStrategy(), world=WORLD)
