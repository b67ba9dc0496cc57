"""Worlds that are read and streamed: one of 10 instances, one of 10,000, both open; prints tokens as JSON."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from typing import Final

from django.db import transaction

from benchmarks.servers import LARGE, SMALL
from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.plans import active_set
from qmtl_worlds.contracts.states import RunState
from strategies.models import StrategyInstance
from strategies.services.bind import Binding
from worlds.models import ApplyRun, World
from worlds.services.active_sets import commit_set
from worlds.services.authority import act_of_shell
from worlds.services.binding import bind
from worlds.services.changes import announce, locked_world
from worlds.services.policies import put_in_force, store_policy
from worlds.services.registry import NewWorld, create_world
from worlds.services.tokens import create_token

SIZES: Final = {SMALL: 10, LARGE: 10_000}
MOST_MEMBERS: Final = 200
TOKENS: Final = 4
LEASE_MS: Final = 30_000
"""Heartbeats, three in a lease, must not be taken for changes or for the cost of connecting."""
POLICY: Final = """\
world: {world}
version: 1
data_currency: {{max_lag: 3650d}}
selection:
  gates: {{and: ["sharpe_30d >= 0"]}}
  score: "sharpe_30d"
  topk: {{total: 200, by_side: {{long: 200}}}}
  constraints: {{exposure: {{gross_budget: {{long: 1.0}}}}}}
"""


def build(world_id: str, instances: int) -> None:
    """Make an open world in which all instances are fresh, and at most 200 of them active."""
    act = act_of_shell(reason="benchmark")
    create_world(new=NewWorld(world_id, lease_ms=LEASE_MS), act=act)
    policy = store_policy(world_id=world_id, text=POLICY.format(world=world_id), act=act)
    with transaction.atomic():
        put_in_force(world=World.objects.get(id=world_id), policy=policy, act=act)
    names = [f"s{number}" for number in range(instances)]
    bind(world_id=world_id, bindings=[Binding(name, Side.LONG) for name in names], act=act)
    StrategyInstance.objects.filter(world_id=world_id).update(fresh_until=act.now + timedelta(days=365))
    members = names[:MOST_MEMBERS]
    with transaction.atomic():
        world = locked_world(world_id)
        run = ApplyRun.objects.create(
            world=world,
            run_id="benchmark",
            kind=ApplyRun.Kind.INCREASE,
            state=RunState.DONE,
            request_digest="-",
            plan={},
            plan_hash="-",
            base_generation=0,
            target_generation=1,
            policy=policy,
            requested_by="shell",
            requested_at=act.now,
            state_changed_at=act.now,
        )
        content = active_set((InstanceKey(name, Side.LONG), 1 / len(members)) for name in members)
        commit_set(world=world, run=run, content=content, act=act)
        announce(world, kind="activation_updated", payload={"generation": 1}, now=act.now)


if __name__ == "__main__":
    for name, size in SIZES.items():
        if name in (sys.argv[2:] or SIZES):  # behind the name of this module
            build(name, size)
    shell = act_of_shell(reason="benchmark")
    tokens = [create_token(role="runner", name=f"runner-{number}", act=shell).text for number in range(TOKENS)]
    sys.stdout.write(json.dumps(tokens) + "\n")
