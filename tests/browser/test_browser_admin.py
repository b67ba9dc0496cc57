from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from playwright.sync_api import expect

from qmtl_worlds.contracts.states import RunState
from tests.browser.conftest import Visit
from tests.worlds.factories import add_strategy, make_world, person, put_policy
from tests.worlds.steps import finish, wait_with_increase
from worlds.models import ApplyRun, World
from worlds.services.reauthentication import SESSION_KEY
from worlds.stores.clock import database_now

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Open = Callable[..., Visit]
PAGES = (
    "/admin/",
    "/admin/worlds/world/w1/change/",
    "/admin/worlds/world/",
    "/admin/worlds/world/w1/act/upload/",
    "/admin/worlds/world/w1/act/rollback/?to=0",
    "/admin/worlds/applyrun/",
    "/admin/audit/auditevent/",
    "/admin/strategies/strategyinstance/",
    "/admin/password_change/",
)


@pytest.fixture
def world(transactional_db: None) -> World:
    """A world in which a run waits for bob."""
    alice, bob = person("alice", "operator", "author"), person("bob", "approver", "auditor")
    world = make_world()
    put_policy(world, author=alice, approver=bob)
    for name, quality in (("good", 3), ("better", 6), ("bad", -3)):
        add_strategy(world, name, quality=quality)
    wait_with_increase(world, alice, bob)
    return world


def forget_password() -> None:
    """Let every session's password have been entered six minutes ago."""
    for row in Session.objects.all():
        session = SessionStore(session_key=row.session_key)
        session[SESSION_KEY] = (database_now() - timedelta(minutes=6)).isoformat()
        session.save()


def test_bob_sees_what_waits_approves_with_his_password_and_watches_it_complete(world: World, visit: Open) -> None:
    shown = visit()
    shown.sign_in("bob")
    page = shown.page
    expect(page.get_by_role("heading", name="What waits for a decision")).to_be_visible()
    forget_password()

    page.get_by_role("link", name="Look and decide").click()
    expect(page.get_by_role("cell", name="comes in")).to_be_visible()
    page.get_by_role("link", name="Approve", exact=True).click()
    page.get_by_label("Your password").fill("wrong")
    page.get_by_label("Reason").fill("I have looked at the plan")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("That is not your password.")).to_be_visible()
    page.get_by_label("Your password").fill("bob")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Approved: it goes on now.")).to_be_visible()
    expect(page.get_by_text("This page follows by itself")).to_be_visible()

    finish(world, "run-2")

    expect(page.get_by_text("Done: the new set trades.")).to_be_visible(timeout=10_000)
    assert ApplyRun.objects.get(run_id="run-2").state == RunState.DONE
    shown.open("/admin/worlds/world/w1/change/")
    expect(page.get_by_role("row").filter(has_text="best long")).to_contain_text("open")


def test_alice_freezes_a_world_in_three_clicks_and_reads_what_still_trades(world: World, visit: Open) -> None:
    shown = visit()
    shown.sign_in("alice")
    page = shown.page

    page.get_by_role("link", name="w1", exact=True).first.click()
    page.get_by_role("link", name="Freeze", exact=True).click()
    expect(page.get_by_text("Only orders that reduce risk pass, from the end")).to_be_visible()
    page.get_by_label("Reason").fill("exchange outage")
    page.get_by_role("button", name="Freeze").click()

    expect(page.get_by_text("an operator froze the world").first).to_be_visible()
    expect(page.get_by_role("link", name="Unfreeze").first).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_pages_fit_their_window_and_obey_the_content_policy(world: World, visit: Open, width: int, scheme: str) -> None:
    shown = visit(width=width, scheme=scheme)
    shown.sign_in("alice")

    wider = {}
    for address in (*PAGES, f"/admin/worlds/applyrun/{ApplyRun.objects.get(run_id='run-2').pk}/change/"):
        shown.open(address)
        wider[address] = shown.overflow

    assert {address: pixels for address, pixels in wider.items() if pixels > 0} == {}


def test_first_tab_leads_past_the_menu(world: World, visit: Open) -> None:
    shown = visit()
    shown.sign_in("alice")
    shown.open("/admin/worlds/world/w1/change/")

    shown.page.keyboard.press("Tab")

    expect(shown.page.get_by_role("link", name="Skip to main content")).to_be_focused()
