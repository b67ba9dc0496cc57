"""What-if questions with figures from the request: they lie over what is stored, and change nothing."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from qmtl_worlds.contracts.errors import InputInvalidError
from tests.worlds.factories import LAST_CLOSE, POLICY, add_strategy, make_world, put_policy
from worlds.models import StreakState, World
from worlds.stores.clock import database_now
from worlds.work.preview import preview_world

pytestmark = pytest.mark.django_db

PAIRS = POLICY.replace("total: 3, by_side: {{long: 2, short: 1}}", "total: 2").replace(
    "  constraints:\n", "  constraints:\n    correlation: {{max_pairwise: 0.5, on_unknown: ignore}}\n"
)
SCORES = {"a": {"sharpe_30d": 10.0}, "b": {"sharpe_30d": 9.0}, "c": {"sharpe_30d": 9.0}}
CONFLICTS = [
    {"a": "a|long", "b": "b|long", "rho": 0.9},
    {"a": "c|long", "b": "a|long", "rho": 0.9},
    {"a": "b|long", "b": "c|long", "rho": 0.1},
]


@pytest.fixture
def three(alice: User, bob: User) -> World:
    """A world with three strategies and two slots."""
    world = make_world()
    put_policy(world, author=alice, approver=bob, text=PAIRS)
    for name in SCORES:
        add_strategy(world, name, quality=5)
    return world


def ask(world: World, **question: Any) -> dict[str, Any]:
    return preview_world(world_id=world.id, as_of=LAST_CLOSE, now=database_now(), question=question)


def test_greedy_takes_the_best_one_and_certifies_what_two_others_would_be_worth(three: World) -> None:
    before = StreakState.objects.get(world=three).revision

    told = ask(three, metrics=SCORES, correlations=CONFLICTS)

    assert told["topk"] == told["promote"] == ["a|long"]
    assert (told["certificate"]["value"], told["certificate"]["upper_bound"]) == (10.0, 18.0)
    assert StreakState.objects.get(world=three).revision == before


def test_pair_without_a_conflict_is_selected_together(three: World) -> None:
    apart = [pair | {"rho": 0.1} for pair in CONFLICTS]

    told = ask(three, metrics=SCORES, correlations=apart)

    assert told["topk"] == ["a|long", "b|long"]


def test_correlation_of_a_name_that_nobody_bears_is_refused(three: World) -> None:
    with pytest.raises(InputInvalidError) as caught:
        ask(three, correlations=[{"a": "a|long", "b": "typo|long", "rho": 0.9}])

    assert "correlations[0].b" in str(caught.value)
