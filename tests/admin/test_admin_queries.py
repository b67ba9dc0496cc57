"""How many statements the pages take: the same for few rows and for many."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from strategies.models import StrategyInstance
from tests.admin.conftest import SignIn
from tests.worlds.factories import make_world, put_policy
from tests.worlds.steps import wait_with_increase
from worlds.admin.scoped import page_address
from worlds.models import ApplyRun, World

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

    assert (few, many) == (53, 53)


def test_run_page_takes_a_fixed_number_of_statements(world: World, alice: User, bob: User, sign_in: SignIn) -> None:
    run: ApplyRun = wait_with_increase(world, alice, bob)

    assert count(sign_in(bob), page_address(run)) == 11
