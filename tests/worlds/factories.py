"""The least that tests of the control plane need: people, a world with a policy, strategies with returns."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from django.contrib.auth.models import User

from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.ids import Side
from strategies.models import Provenance
from strategies.series import SeriesRows
from strategies.services.append import SeriesTarget
from strategies.services.bind import Binding
from worlds.models import PolicyVersion, World
from worlds.services.authority import act_of_person, act_of_shell
from worlds.services.binding import bind, ingest
from worlds.services.members import grant_role
from worlds.services.policies import approve_policy, request_policy, store_policy
from worlds.services.registry import NewWorld, create_world
from worlds.stores.clock import database_now

POLICY = """\
world: {world}
version: {version}
data_currency: {{max_lag: 3650d, min_history: 5d}}
metrics: {{provenance: [backtest, paper, live], min_obs: 5}}
selection:
  gates: {{and: ["sharpe_30d >= 0.5"]}}
  score: "sharpe_30d"
  topk: {{total: 3, by_side: {{long: 2, short: 1}}}}
  constraints:
    exposure: {{gross_budget: {{long: 0.6, short: 0.4}}}}
position_policy: {{on_promote: carry, on_demote: carry}}
"""
LAST_CLOSE = datetime(2026, 3, 2, tzinfo=UTC)


def person(name: str, *roles: str, world: World | None = None) -> User:
    """Make a person with an e-mail of their own and the given roles."""
    user = User.objects.create_user(name, email=f"{name}@example.org", password=name)
    for role in roles:
        grant_role(user=user, role=role, world=world, act=act_of_shell(reason="test"))
    return user


def act_of(user: User, reason: str = "test") -> Act:
    """Return an act of the person, now."""
    return act_of_person(user, reason=reason)


def shell() -> Act:
    """Return an act of whoever holds the database."""
    return act_of_shell(reason="test")


def make_world(world_id: str = "w1", *, mode: str = "paper") -> World:
    """Make a world without policy, older than any permission could be."""
    world = create_world(new=NewWorld(world_id, mode=mode, lease_ms=1000), act=shell())
    World.objects.filter(pk=world.pk).update(created_at=world.created_at - timedelta(hours=1))
    world.refresh_from_db()
    return world


def put_policy(world: World, *, author: User, approver: User, version: int = 1, text: str = POLICY) -> PolicyVersion:
    """Store a policy as one person and put it in force as another."""
    policy = store_policy(world_id=world.id, text=text.format(world=world.id, version=version), act=act_of(author))
    change = request_policy(world_id=world.id, version=version, act=act_of(author))
    approve_policy(change_id=change.pk, reauthenticated_at=database_now(), act=act_of(approver))
    world.refresh_from_db()
    return policy


def add_strategy(world: World, strategy_id: str, *, quality: float, side: Side = Side.LONG, days: int = 60) -> None:
    """Bind a strategy and give it a return a day up to ``LAST_CLOSE``; better ``quality`` is a better Sharpe ratio."""
    bind(world_id=world.id, bindings=[Binding(strategy_id, side, sector="tech")], act=shell())
    returns = (0.001 * quality + 0.01 * math.sin(day * (1.3 + 0.1 * len(strategy_id)) + quality) for day in range(days))
    push(world, strategy_id, returns, side=side, days=days)


def push(
    world: World, strategy_id: str, returns: Iterable[float], *, side: Side, days: int, revise: bool = False
) -> None:
    """Push a return a day, the last one at ``LAST_CLOSE``."""
    first = LAST_CLOSE - timedelta(days=days - 1)
    closes = array("q", [int((first + timedelta(days=day)).timestamp()) for day in range(days)])
    rows = SeriesRows(ts=closes, ret=array("d", returns), leverage=array("d", [1.0] * days))
    target = SeriesTarget(world.id, strategy_id, Provenance.BACKTEST, side)
    ingest(target=target, rows=rows, revise=revise, act=shell())


def add_day(world: World, day: int, returns: Mapping[str, float], *, side: Side = Side.LONG) -> None:
    """Push one return for each named strategy, ``day`` days after ``LAST_CLOSE``."""
    close = int((LAST_CLOSE + timedelta(days=day)).timestamp())
    for strategy_id, value in returns.items():
        rows = SeriesRows(ts=array("q", [close]), ret=array("d", [value]), leverage=array("d", [1.0]))
        target = SeriesTarget(world.id, strategy_id, Provenance.BACKTEST, side)
        ingest(target=target, rows=rows, revise=False, act=shell())
