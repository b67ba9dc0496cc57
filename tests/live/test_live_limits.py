"""How much one caller may ask for, and what nobody can fill."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import override_settings

from qmtl_worlds.contracts.clock import boot_time
from tests.live.asgi import NOT_HOT, Stream, ask, ask_on_loop, on_loop
from tests.live.conftest import Headers, bearer
from tests.worlds.factories import shell
from tests.worlds.steps import first_apply
from worlds.live.activation import Questions
from worlds.live.app import Live
from worlds.live.limits import Budget, Budgets
from worlds.live.tokens import Caller
from worlds.models import World
from worlds.services.tokens import revoke_token

GOOD = "/worlds/w1/activation?strategy_id=good&side=long"


@pytest.fixture
def trading(world: World, alice: User, bob: User) -> World:
    """A world whose first set is applied."""
    first_apply(world, alice, bob)
    return world


def test_budget_grows_with_time_and_not_beyond_its_burst() -> None:
    budget = Budget.of(10)

    waits = [budget.wait(100.0) for _ in range(21)]
    later = budget.wait(100.2)

    assert waits[:20] == [0.0] * 20
    assert waits[20] == pytest.approx(0.1)
    assert later == 0.0


def test_budgets_of_many_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worlds.live.limits.MOST_KEYS", 3)
    budgets = Budgets(1)

    for number in range(10):
        budgets.wait(b"%d" % number, now=0.0)

    assert len(budgets) <= 3


@pytest.mark.parametrize("query", [b"strategy_id=%00", b"x" * 600, b"strategy_id=a&filler=" + b"x" * 600])
def test_query_that_is_refused_or_long_is_not_kept(query: bytes) -> None:
    questions = Questions()

    assert questions.read(query) is None
    assert len(questions) == 0


@override_settings(READS_PER_SECOND=1)
def test_token_beyond_its_rate_is_told_when_to_come_back(live: Live, trading: World, runner: Headers) -> None:
    answers = [ask(live, GOOD, **runner) for _ in range(3)]

    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].headers["retry-after"] == "1"
    assert answers[2].json()["type"] == "urn:qmtl-worlds:rate-limited"


@override_settings(STREAMS_PER_TOKEN=1)
def test_stream_too_many_of_one_token_is_refused_and_another_token_has_its_own(
    live: Live, trading: World, runner: Headers
) -> None:
    other = bearer("runner")

    async def story() -> None:
        first = Stream(live, "/worlds/w1/events", **runner)
        await first.next()
        refused = await ask_on_loop(live, "/worlds/w1/events", **runner)
        second = Stream(live, "/worlds/w1/events", **other)
        await second.next()
        await first.leave()
        again = Stream(live, "/worlds/w1/events", **runner)
        await again.next()
        await second.leave()
        await again.leave()

        assert (refused.status, refused.json()["type"]) == (503, "urn:qmtl-worlds:overloaded")
        assert live.store.worlds["w1"].streams == 0

    on_loop(story)


def test_many_who_ask_with_one_token_cost_one_look_at_the_rows(
    live: Live, trading: World, runner: Headers, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[bytes] = []
    look_up = live.tokens.look_up

    def counted(header: bytes) -> Caller | None:
        looked.append(header)
        return look_up(header)

    monkeypatch.setattr(live.tokens, "look_up", counted)
    monkeypatch.setattr("worlds.live.lookups.PATIENCE_SECONDS", 30.0)

    async def story() -> list[int]:
        answers = await asyncio.gather(*(ask_on_loop(live, GOOD, **runner) for _ in range(50)))
        return [answer.status for answer in answers]

    assert asyncio.run(story()) == [200] * 50
    assert len(looked) == 1


def test_what_can_be_no_token_never_reaches_the_rows(
    live: Live, trading: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live.tokens, "look_up", _never)

    for header in ("", "Basic abc", "Bearer " + "x" * 300):
        assert ask(live, GOOD, authorization=header).status == NOT_HOT


def test_token_that_is_dropped_from_memory_is_revoked_for_those_who_stream_by_it(
    live: Live, trading: World, runner: Headers, catch_up: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(live, GOOD, **runner)
    caller = live.tokens.find(runner["authorization"].encode(), now=boot_time())
    monkeypatch.setattr("worlds.live.tokens.MOST_TOKENS", 1)

    ask(live, GOOD, **bearer("runner"))
    dropped = live.tokens.find(runner["authorization"].encode(), now=boot_time()) is None
    assert caller is not None
    revoke_token(token_id=caller.token.id, act=shell())
    catch_up()

    assert (dropped, caller.revoked) == (True, True)


def _never(_header: bytes) -> None:
    raise AssertionError("the rows were asked")
