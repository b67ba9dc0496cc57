from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from qmtl_worlds.contracts.lease import Position
from tests.browser.conftest import Visit
from tests.worlds.factories import make_world, person
from worlds.models import World
from worlds.selectors import position_of
from worlds.services.sessions import Heard, note_sessions
from worlds.stores.clock import database_now

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Open = Callable[..., Visit]
PAGE = "/admin/worlds/runnersession/of/w1/"


def hear(world: World, client_id: str, held: Position, skew_ms: float | None, connection: str = "stream") -> None:
    at = database_now()
    note_sessions([Heard(world.id, client_id, "t", connection, held, skew_ms, at, at, at)])


@pytest.fixture
def world(transactional_db: None) -> World:
    """A world with 37 Runners, of which the last has not heard of the newest state."""
    person("alice", "operator", "author")
    world = make_world()
    present = position_of(world)
    for number in range(36):
        hear(world, f"gateway-{number:02}", present, 12.0 + 2 * number, "poll" if number % 3 else "stream")
    hear(world, "gateway-36", Position(0, 0, 0), None)
    return world


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_runners_are_listed_and_the_page_follows_them(world: World, visit: Open, width: int, scheme: str) -> None:
    alice = visit(width=width, scheme=scheme)
    alice.sign_in("alice")
    alice.open(PAGE)
    lead = alice.page.locator("p.lead")

    expect(lead).to_contain_text("36 of 37 have the newest state, slowest 82 ms")
    expect(alice.page.locator(".page tbody tr").first).to_contain_text("gateway-36")
    hear(world, "gateway-36", position_of(world), 84.0)

    expect(lead).to_contain_text("37 of 37 have the newest state, slowest 84 ms (gateway-36)", timeout=20_000)
    assert alice.overflow <= 0
