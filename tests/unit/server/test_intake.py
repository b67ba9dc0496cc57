"""What reaches Django's threads: whole bodies, a bounded number of them, from callers within their budget."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from django.test import override_settings

from qmtl_worlds.wsgi_pool import Environ, WsgiPool
from worlds.live.counts import Counts
from worlds.live.http import Message, Scope
from worlds.live.intake import BODY_LIMIT, Intake


class Django:
    """Stands in for Django: answers with what it was asked, once it may."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.closed = 0

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        assert self.may_answer.wait(10)
        start_response("200 OK", [("X-Seen", environ.get("HTTP_X_FORWARDED_PROTO", "none"))])
        return Parts(self, [environ["wsgi.input"].read(), environ["CONTENT_LENGTH"].encode()])


class Parts:
    """Two parts, and a note that they were closed."""

    def __init__(self, django: Django, parts: list[bytes]) -> None:
        self._django, self._parts = django, parts

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._parts)

    def close(self) -> None:
        self._django.closed += 1


@pytest.fixture
def django() -> Django:
    return Django()


@pytest.fixture
def pool(django: Django) -> Iterator[WsgiPool]:
    made = WsgiPool(django, threads=1)
    yield made
    django.may_answer.set()
    made.close()


def scope(*headers: tuple[bytes, bytes]) -> Scope:
    found: Scope = {"type": "http", "method": "POST", "path": "/worlds", "query_string": b"", "http_version": "1.1"}
    return {**found, "headers": list(headers), "client": ("127.0.0.1", 1)}


async def ask(intake: Intake, *parts: bytes, asked: Scope | None = None) -> tuple[int, dict[str, str], bytes]:
    left = [{"type": "http.request", "body": part, "more_body": True} for part in parts[:-1]]
    left.append({"type": "http.request", "body": parts[-1] if parts else b"", "more_body": False})
    sent: list[Message] = []

    async def receive() -> Message:
        return left.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await intake(asked or scope(), receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, sent[1]["body"]


def test_body_that_comes_in_parts_is_handed_over_whole(pool: WsgiPool, django: Django) -> None:
    status, _, body = asyncio.run(ask(Intake(pool), b"ab", b"c"))

    assert (status, body, django.closed) == (200, b"abc3", 1)


def test_header_with_an_underscore_cannot_pass_for_another(pool: WsgiPool) -> None:
    _, headers, _ = asyncio.run(ask(Intake(pool), asked=scope((b"x_forwarded_proto", b"https"))))

    assert headers["x-seen"] == "none"


def test_body_over_every_limit_is_refused_with_413(pool: WsgiPool) -> None:
    part = b"x" * (BODY_LIMIT // 2)

    status, headers, body = asyncio.run(ask(Intake(pool), part, part, b"y"))

    assert (status, headers["content-type"]) == (413, "application/problem+json")
    assert json.loads(body)["type"] == "urn:qmtl-worlds:body-too-large"


@override_settings(BODY_SECONDS=0.01)
def test_body_that_does_not_come_is_refused_with_408_and_holds_no_thread(pool: WsgiPool) -> None:
    async def story() -> tuple[int, int]:
        intake, statuses = Intake(pool), []

        async def never() -> Message:
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Message) -> None:
            statuses.append(message.get("status", 0))

        slow = asyncio.create_task(intake(scope(), never, send))
        await asyncio.sleep(0)
        quick, _, _ = await ask(intake, b"now")
        await slow
        return statuses[0], quick

    assert asyncio.run(story()) == (408, 200)


@override_settings(WAITING_REQUESTS=1)
def test_request_too_many_is_told_to_come_back(pool: WsgiPool, django: Django) -> None:
    async def story() -> tuple[int, dict[str, str], bytes]:
        intake = Intake(pool)
        django.may_answer.clear()
        first = asyncio.create_task(ask(intake))
        await asyncio.sleep(0)
        refused = await ask(intake)
        django.may_answer.set()
        await first
        return refused

    status, headers, body = asyncio.run(story())

    assert (status, headers["retry-after"], json.loads(body)["type"]) == (503, "1", "urn:qmtl-worlds:overloaded")


@override_settings(WAITING_BYTES=10)
def test_bodies_that_wait_are_bounded_together(pool: WsgiPool) -> None:
    async def story() -> list[int]:
        intake = Intake(pool)
        return [(await ask(intake, body))[0] for body in (b"x" * 11, b"x" * 10)]

    assert asyncio.run(story()) == [503, 200]


@override_settings(REQUESTS_PER_SECOND=1)
def test_caller_beyond_its_rate_waits_and_others_do_not(pool: WsgiPool) -> None:
    counts = Counts()

    async def story() -> list[tuple[int, str]]:
        intake, busy, other = Intake(pool, counts), scope((b"authorization", b"a")), scope((b"authorization", b"b"))
        answers = [await ask(intake, asked=one) for one in (busy, busy, busy, other)]
        return [(status, headers.get("retry-after", "")) for status, headers, _ in answers]

    assert asyncio.run(story()) == [(200, ""), (200, ""), (429, "1"), (200, "")]
    assert (counts.answers, counts.refusals) == ({("other", 200): 3}, {"rate-limited": 1})
