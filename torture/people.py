"""The worlds of a storm and the people who act in them."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from django.contrib.auth.models import User

from qmtl_worlds.contracts.acts import ANY_WORLD, Act, Grants
from qmtl_worlds.contracts.ids import Side
from strategies.models import Provenance
from strategies.series import SeriesRows
from strategies.services.append import SeriesTarget
from strategies.services.bind import Binding
from worlds.models import World
from worlds.services.authority import act_of_shell, roles
from worlds.services.binding import bind, ingest
from worlds.services.members import grant_role
from worlds.services.policies import approve_policy, request_policy, store_policy
from worlds.services.registry import NewWorld, create_world
from worlds.services.tokens import create_token
from worlds.stores.clock import database_now

MEMBERS: Final = ("good", "better")
"""The strategies that each evaluation chooses; the third never passes."""
APPROVERS: Final = ("bob", "carol")
QUALITIES: Final = {"good": 3.0, "better": 6.0, "bad": -3.0}
FIRST_CLOSE: Final = datetime(2025, 1, 20, tzinfo=UTC)
FIRST_EVALUATION: Final = datetime(2025, 3, 3, tzinfo=UTC)
DAYS: Final = 600
"""So many closes there are, and about so many evaluations that each see a day more."""
POLICY: Final = """\
world: {world}
version: 1
data_currency: {{max_lag: 3650d, min_history: 5d}}
metrics: {{provenance: [backtest, paper, live], min_obs: 5}}
selection:
  gates: {{and: ["sharpe_30d >= 0.5"]}}
  score: "sharpe_30d"
  topk: {{total: 2, by_side: {{long: 2}}}}
  constraints:
    exposure: {{gross_budget: {{long: 0.6}}}}
risk: {{circuit: {{max_drawdown: 0.3}}}}
position_policy: {{on_promote: carry, on_demote: carry}}
"""


def act_of(name: str, *, reason: str = "torture") -> Act:
    """Return an act of one of the people, now; each holds every right, and each is another person."""
    everything = frozenset().union(*roles().people.values())
    return Act(
        f"person:{name}", reason, database_now(), person=f"{name}@example.org", grants=Grants({ANY_WORLD: everything})
    )


def hire() -> None:
    """Make the people whose approvals count only while their accounts have the role."""
    for name in APPROVERS:
        user = User.objects.create_user(name, email=f"{name}@example.org")
        grant_role(user=user, role="approver", world=None, act=act_of_shell(reason="torture"))


def found_world(world_id: str, *, lease_ms: int) -> World:
    """Make a world with a policy in force and three strategies with returns."""
    shell = act_of_shell(reason="torture")
    world = create_world(new=NewWorld(world_id, lease_ms=lease_ms), act=shell)
    store_policy(world_id=world_id, text=POLICY.format(world=world_id), act=act_of("alice"))
    change = request_policy(world_id=world_id, version=1, act=act_of("alice"))
    approve_policy(change_id=change.pk, reauthenticated_at=database_now(), act=act_of("carol"))
    for strategy_id, quality in QUALITIES.items():
        bind(world_id=world_id, bindings=[Binding(strategy_id, Side.LONG)], act=shell)
        target = SeriesTarget(world_id, strategy_id, Provenance.BACKTEST, Side.LONG)
        ingest(target=target, rows=_returns(quality), revise=False, act=shell)
    return world


def tokens() -> Mapping[str, str]:
    """Make a token for Runners, and those of operators' machines."""
    shell = act_of_shell(reason="torture")
    return {
        role: create_token(role=role, name=f"torture {role}", act=shell).text
        for role in ("runner", "scheduler", "gateway")
    }


def _returns(quality: float) -> SeriesRows:
    closes = array("q", [int((FIRST_CLOSE + timedelta(days=day)).timestamp()) for day in range(DAYS)])
    returns = array("d", [0.001 * quality + 0.01 * math.sin(day * 1.3 + quality) for day in range(DAYS)])
    return SeriesRows(ts=closes, ret=returns, leverage=array("d", [1.0] * DAYS))
