from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.worlds.circuits import limit, push
from tests.worlds.factories import act_of, add_strategy, make_world, person, put_policy
from tests.worlds.steps import wait_with_increase
from worlds.models import ApplyRun, GateHold, Override, Reopening, World
from worlds.services.authority import act_of_system
from worlds.services.kills import kill
from worlds.services.overrides import expire_overrides
from worlds.stores.clock import database_now

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Open = Callable[..., Visit]
WORLD = "/admin/worlds/world/w1/change/"


@pytest.fixture
def world(transactional_db: None) -> World:
    """A world that trades ``good`` and ``better``, with a risk circuit near its limit."""
    alice, bob = person("alice", "operator", "author"), person("bob", "approver", "auditor")
    person("rita", "risk")
    world = make_world()
    put_policy(world, author=alice, approver=bob)
    for name, quality in (("good", 3), ("better", 6), ("bad", -3)):
        add_strategy(world, name, quality=quality)
    limit(world, alice, bob, "{max_drawdown: 0.20}")
    wait_with_increase(world, alice, bob)
    push(world, 1000.0, 830.0)
    return world


def test_kill_takes_two_clicks_turns_all_red_and_is_lifted_by_two_people(world: World, visit: Open) -> None:
    World.objects.update(mode="live", lease_ms=3000)
    alice, rita = visit(), visit(scheme="dark")
    alice.sign_in("alice")
    alice.open(WORLD)
    page = alice.page

    page.get_by_role("link", name="Kill", exact=True).first.click()
    expect(page.get_by_text("EXITS TOO")).to_be_visible()
    page.get_by_role("button", name="Kill").click()

    expect(page.get_by_text("a kill holds it").first).to_be_visible()
    expect(page.locator("section.gate-bad")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="better long")).to_contain_text("closed")
    expect(page.get_by_text("everywhere since")).to_be_visible(timeout=10_000)

    page.get_by_role("link", name="Lift the kill").first.click()
    page.get_by_label("Reason").fill("exchange is back")
    page.get_by_role("button", name="Lift the kill").click()
    expect(page.get_by_text("a different person must grant it")).to_be_visible()

    rita.sign_in("rita")
    rita.page.get_by_role("link", name="Lift the kill of the world").click()
    rita.page.get_by_role("link", name="Grant").click()
    rita.page.get_by_label("Reason").fill("checked with the exchange")
    rita.page.get_by_role("button", name="Grant").click()
    expect(rita.page.get_by_text("Granted: Lift the kill of the world.")).to_be_visible()

    alice.open(WORLD)
    expect(page.locator("section.gate-good")).to_be_visible()
    assert not GateHold.objects.filter(kind="kill").exists()
    assert Reopening.objects.get().decider_person == "rita@example.org"


def test_effective_counts_down_without_a_reload(world: World, visit: Open) -> None:
    World.objects.update(lease_ms=4000)
    shown = visit()
    shown.sign_in("alice")
    kill(world_id="w1", act=act_of(person("anna", "operator")))
    shown.open(WORLD)
    shown.page.evaluate("window.sameDocument = true")
    expect(shown.page.get_by_text("a permission from before may still be in use")).to_be_visible()

    expect(shown.page.get_by_text("no permission from before is left")).to_be_visible(timeout=10_000)

    assert shown.page.evaluate("window.sameDocument") is True


def test_override_is_set_shown_and_gone_when_its_time_is_over(world: World, visit: Open) -> None:
    shown = visit()
    shown.sign_in("alice")
    shown.open(WORLD)
    page = shown.page

    page.get_by_role("link", name="better", exact=True).click()
    page.get_by_role("link", name="Override", exact=True).click()
    page.get_by_label("At most a share of capital").check()
    page.get_by_label("At most, in %").fill("10")
    page.get_by_label("Ends by itself").fill("2")
    page.get_by_label("Reason").fill("bad fills")
    page.get_by_role("button", name="Override").click()

    expect(page.get_by_text("at most 10 %")).to_be_visible()
    shown.open(WORLD)
    expect(page.get_by_text("capped at 10 %")).to_be_visible()
    expect(page.get_by_text("ends in 2 h")).to_be_visible()

    Override.objects.update(expires_at=database_now() - timedelta(seconds=1))
    expire_overrides(act=act_of_system(reason="tick"))

    row = page.get_by_role("row").filter(has_text="better long")
    expect(row.get_by_text("capped at")).to_have_count(0, timeout=15_000)
    expect(row).to_be_visible()
    assert not Override.objects.exists()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_pages_of_closing_fit_their_window_and_obey_the_content_policy(
    world: World, visit: Open, width: int, scheme: str
) -> None:
    shown = visit(width=width, scheme=scheme)
    shown.sign_in("alice")
    kill(world_id="w1", scope="good|long", act=act_of(person("anna", "operator"), "runaway"))
    good, run = world.instances.get(strategy_id="good"), ApplyRun.objects.get(run_id="run-2")
    pages = (
        WORLD,
        "/admin/",
        "/admin/worlds/world/w1/act/kill/",
        f"/admin/strategies/strategyinstance/{good.pk}/change/",
        f"/admin/strategies/strategyinstance/{good.pk}/act/override/",
        f"/admin/worlds/applyrun/{run.pk}/change/",
        "/admin/worlds/alert/",
        "/admin/worlds/reopening/",
        "/admin/worlds/circuitstate/",
    )

    wider = {}
    for address in pages:
        shown.open(address)
        wider[address] = shown.overflow

    assert {address: pixels for address, pixels in wider.items() if pixels > 0} == {}
