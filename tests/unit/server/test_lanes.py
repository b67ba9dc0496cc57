from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from a2wsgi.wsgi_typing import Environ, StartResponse
from django.test import override_settings

from qmtl_worlds.lanes import BODY_LIMIT, Lanes, Message, Receive, Scope, Send

KILL = "/worlds/w1/kill"


def wsgi(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Say which thread answers, and what it read."""
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [f"{threading.get_ident()} {len(body)}".encode()]


async def pool(_scope: Scope, receive: Receive, send: Send) -> None:
    """Say that the pool was asked."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    await send({"type": "http.response.body", "body": f"pool {size}".encode()})


@pytest.fixture
def lanes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lanes]:
    monkeypatch.setattr("qmtl_worlds.lanes.Lane.warm", lambda _lane: None)
    made = Lanes(wsgi, pool=pool)
    yield made
    made.close()


def scope(path: str, method: str = "POST") -> Scope:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
    }


async def ask(lanes: Lanes, path: str, *parts: bytes) -> str:
    messages: list[Message] = [
        {"type": "http.request", "body": part, "more_body": number < len(parts) - 1}
        for number, part in enumerate(parts)
    ]
    left = iter(messages)
    sent: list[Any] = []

    async def receive() -> Message:
        return next(left)

    async def send(message: Message) -> None:
        sent.append(message)

    await lanes(scope(path), receive, send)
    return b"".join(message.get("body", b"") for message in sent).decode()


@pytest.mark.parametrize(
    "path",
    [
        KILL,
        "/worlds/w1/freeze",
        "/worlds/w1/gate",
        "/worlds/w1/suspend",
        "/admin/worlds/world/w1/act/kill/",
        "/admin/strategies/strategyinstance/1/act/kill/",
    ],
)
def test_closing_acts_have_lanes(lanes: Lanes, path: str) -> None:
    assert lanes.lane_of(scope(path)) is not None


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", KILL), ("POST", "/worlds/w1/apply"), ("POST", "/worlds/w1/unfreeze"), ("POST", "/worlds/w1/x/kill")],
)
def test_everything_else_goes_to_the_pool(lanes: Lanes, method: str, path: str) -> None:
    assert lanes.lane_of(scope(path, method)) is None


def test_kill_never_stands_behind_a_freeze(lanes: Lanes) -> None:
    assert lanes.lane_of(scope(KILL)) is not lanes.lane_of(scope("/worlds/w1/freeze"))


def test_lane_has_one_thread_and_hands_the_body_over(lanes: Lanes) -> None:
    async def twice() -> list[str]:
        return [await ask(lanes, KILL, b"ab", b"c"), await ask(lanes, KILL, b"abcd")]

    first, second = (answer.split() for answer in asyncio.run(twice()))

    assert first[0] == second[0] != str(threading.get_ident())
    assert (first[1], second[1]) == ("3", "4")


def test_slow_sender_of_a_long_body_goes_to_the_pool(lanes: Lanes) -> None:
    answer = asyncio.run(ask(lanes, KILL, b"x" * (BODY_LIMIT + 1), b"y"))

    assert answer == f"pool {BODY_LIMIT + 2}"


@pytest.mark.parametrize("parts", [(), (b'{"scope":',)])
def test_caller_that_left_in_the_middle_has_killed_nothing(lanes: Lanes, parts: tuple[bytes, ...]) -> None:
    told: list[Message] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages = iter([*told, {"type": "http.disconnect"}])
    sent: list[Any] = []

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(lanes(scope(KILL), receive, send))

    assert sent == []


@override_settings(BODY_SECONDS=0.01)
def test_body_that_does_not_come_in_time_is_left_to_the_pool(lanes: Lanes) -> None:
    waited = False
    sent: list[Any] = []

    async def receive() -> Message:
        nonlocal waited
        if not waited:
            waited = True
            await asyncio.Event().wait()
        return {"type": "http.request", "body": b"late", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(lanes(scope(KILL), receive, send))

    assert sent[0]["body"] == b"pool 4"


def test_caller_that_never_finishes_its_body_holds_no_lane(lanes: Lanes) -> None:
    async def slow_and_fast() -> str:
        never = asyncio.Event()

        async def receive() -> Message:
            await never.wait()
            return {"type": "http.disconnect"}

        async def send(_message: Message) -> None:
            raise AssertionError("nothing is answered")

        slow = asyncio.ensure_future(lanes(scope(KILL), receive, send))
        await asyncio.sleep(0)
        answer = await ask(lanes, KILL, b"abc")
        slow.cancel()
        return answer

    assert asyncio.run(slow_and_fast()).endswith(" 3")
