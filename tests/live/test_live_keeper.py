"""What goes wrong with one question or one world does not let the others lapse."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError

from qmtl_worlds.contracts.clock import boot_time
from tests.live.asgi import NOT_HOT, ask
from tests.live.conftest import Headers
from tests.worlds.factories import act_of
from tests.worlds.steps import first_apply
from worlds.live.app import Live
from worlds.live.keeper import Keeper, Stop
from worlds.live.lookups import LookUps
from worlds.live.store import LiveStore
from worlds.live.tokens import TokenBook
from worlds.models import World
from worlds.services.holds import freeze

pytestmark = pytest.mark.django_db


@pytest.fixture
def trading(world: World, alice: User, bob: User) -> World:
    """A world whose first set is applied."""
    first_apply(world, alice, bob)
    return world


def refuse(*_words: object, **_named: object) -> None:
    raise OperationalError("refused")


def test_question_that_the_database_refuses_does_not_put_off_a_confirmation() -> None:
    keeper = Keeper(LiveStore(), TokenBook())
    due = keeper._due = boot_time() + 1_000  # noqa: SLF001 - no confirmation comes in between
    for job in (refuse, Stop()):
        keeper._jobs.put(job)  # noqa: SLF001 - all that the thread does, without the thread

    keeper._serve()  # noqa: SLF001

    assert keeper._due == due  # noqa: SLF001


def test_world_that_cannot_be_read_keeps_neither_tokens_nor_the_other_worlds_from_their_confirmation(
    trading: World, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, tokens = [], TokenBook()
    keeper = Keeper(LiveStore(), tokens)
    keeper.load("w1")
    freeze(world_id="w1", act=act_of(alice))
    monkeypatch.setattr(tokens, "recheck", lambda: looks.append("tokens"))
    monkeypatch.setattr("worlds.live.keeper.load_world", refuse)

    with pytest.raises(OperationalError):
        keeper._confirm()  # noqa: SLF001

    assert looks == ["tokens"]
    assert keeper.confirmed_at > 0


def test_question_that_breaks_is_asked_again_by_whoever_comes_next() -> None:
    class Waiting:
        def submit(self, job: Callable[[], None]) -> None:
            with suppress(OSError):
                job()

    asked = []

    def look(name: str) -> str:
        asked.append(name)
        if len(asked) == 1:
            raise OSError("too many open files")
        return name

    async def story() -> list[str | None]:
        look_ups = LookUps(cast("Keeper", Waiting()), look)
        return [await look_ups.find("w1") for _ in range(2)]

    assert asyncio.run(story()) == [None, "w1"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["%00a", "W", "w" * 64])
def test_what_names_no_world_is_not_looked_for(live: Live, trading: World, runner: Headers, name: str) -> None:
    asked: list[str] = []
    live._worlds._look = asked.append  # noqa: SLF001

    answer = ask(live, f"/worlds/{name}/activation?strategy_id=good", **runner)

    assert (answer.status, asked) == (NOT_HOT, [])
