"""How many statements the pages take: the same for few rows and for many."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.lifecycle.holds import HoldKind, make_hold
from strategies.models import StrategyInstance
from tests.admin.conftest import SignIn
from tests.worlds.factories import act_of, make_world, put_policy, shell
from tests.worlds.steps import wait_with_increase
from worlds.admin.scoped import page_address
from worlds.models import ApplyRun, World
from worlds.services.alerts import raise_alert
from worlds.services.holds import place_hold
from worlds.services.overrides import OverrideRequest, set_override

pytestmark = pytest.mark.django_db

PAGES = {"index": 16, "worlds_world_changelist": 12, "worlds_applyrun_changelist": 10}


def count(client: Client, address: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        answer = client.get(address)
    assert answer.status_code == 200
    return len(queries)


@pytest.mark.parametrize("name", PAGES)
def test_page_over_worlds_takes_the_same_statements_for_one_and_for_many(
    world: World, alice: User, bob: User, sign_in: SignIn, name: str
) -> None:
    wait_with_increase(world, alice, bob)
    client, address = sign_in(bob), reverse(f"admin:{name}")
    few = count(client, address)

    for number in range(8):
        put_policy(make_world(f"more-{number}"), author=alice, approver=bob)
    many = count(client, address)

    assert (few, many) == (PAGES[name], PAGES[name])


def test_world_page_takes_the_same_statements_for_any_number_of_strategies(
    world: World, alice: User, bob: User, sign_in: SignIn
) -> None:
    wait_with_increase(world, alice, bob)
    client = sign_in(bob)
    few = count(client, page_address(world))

    now = world.created_at
    StrategyInstance.objects.bulk_create(
        StrategyInstance(world=world, strategy_id=f"s{number}", side="long", params_digest="x", bound_at=now)
        for number in range(300)
    )
    many = count(client, page_address(world))

    assert (few, many) == (36, 36)


def test_world_page_takes_the_same_statements_for_any_number_of_holds_overrides_and_alerts(
    world: World, alice: User, bob: User, sign_in: SignIn
) -> None:
    wait_with_increase(world, alice, bob)
    client = sign_in(bob)

    counts = []
    for number in range(3):
        for name in ("good", "better", "bad", "best")[number : number + 2]:
            key = InstanceKey(name, Side.LONG)
            hold = make_hold(HoldKind.AWAITING_FLAT, f"run-{number}", key=key)
            place_hold(world=world, hold=hold, act=shell())
            raise_alert(world=world, kind="data_stale", subject=key.text, act=shell())
            request = OverrideRequest(key, active=False)
            set_override(world_id=world.id, request=request, act=act_of(alice, f"reason {number}"))
        counts.append(count(client, page_address(world)))

    assert len(set(counts)) == 1


def test_run_page_takes_a_fixed_number_of_statements(world: World, alice: User, bob: User, sign_in: SignIn) -> None:
    run: ApplyRun = wait_with_increase(world, alice, bob)

    assert count(sign_in(bob), page_address(run)) == 11
