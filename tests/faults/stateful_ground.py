"""What every history of the state machine starts from: people, and a world with policies and bound strategies."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from django.contrib.auth.models import User

from qmtl_worlds.contracts.ids import InstanceKey
from strategies.models import Provenance
from strategies.series import SeriesRows
from strategies.services.append import SeriesTarget
from strategies.services.bind import Binding
from tests.faults.stateful_requests import LIMITS
from tests.faults.stateful_rows import CONFIRMED_BY, KEYS, MOST_LOSS, POLICIES, WARN_AT, WORLD, Terms
from tests.worlds.factories import act_of, make_world, person, shell
from worlds.selectors import get_world
from worlds.services.binding import bind, ingest
from worlds.services.policies import approve_policy, request_policy, store_policy
from worlds.services.registry import update_world

BAR_SECONDS: Final = 60
ROLES: Final = {
    "alice": ("operator", "author"),
    "bob": ("viewer", "approver"),
    "carol": ("viewer", "approver"),
    "dave": ("viewer", "risk"),
    "eve": ("viewer",),
}
_POLICY: Final = """\
world: w1
version: {version}
data_currency: {{max_lag: 10m}}
metrics: {{provenance: [backtest, paper, live]}}
selection:
  gates: {{and: ["sharpe_30d >= 0.5"]}}
  score: "sharpe_30d"
  topk: {{total: 4, by_side: {{long: 3, short: 1}}}}
  constraints:
    exposure: {{gross_budget: {{long: 0.6, short: 0.3}}}}
position_policy: {{on_promote: {promote}, on_demote: {demote}}}
risk: {{circuit: {circuit}}}
apply:
  mode: {mode}
  approvals: {approvals}
  expiry: {expiry}m
  auto: {{max_changes: {changes}, max_gross_shift: {shift}}}
"""


_CIRCUIT: Final = f"{{max_drawdown: {MOST_LOSS}, confirm_samples: {CONFIRMED_BY}, warn_at: {WARN_AT}}}"


@dataclass(frozen=True, slots=True)
class Ground:
    """What every history starts from: people, and a world with policies and bound strategies."""

    people: Mapping[str, User]
    checksums: Mapping[int, str]
    sequence: int


def make_ground() -> Ground:
    """Make people, the world, its policies, of which the first is in force, and strategies with fresh data."""
    people = {name: person(name, *roles) for name, roles in ROLES.items()}
    make_world(WORLD)
    versions = {
        version: store_policy(world_id=WORLD, text=_text(version, terms), act=act_of(people["alice"]))
        for version, terms in POLICIES.items()
    }
    change = request_policy(world_id=WORLD, version=1, act=act_of(people["alice"]))
    approval = act_of(people["bob"])
    approve_policy(change_id=change.pk, reauthenticated_at=approval.now, act=approval)
    update_world(world_id=WORLD, changes={"lease_ms": 5000}, act=shell())
    for key in KEYS:
        bind(world_id=WORLD, bindings=[binding_of(key, 0)], act=shell())
        push_bar(key)
    checksums = {version: policy.checksum for version, policy in versions.items()}
    return Ground(people, checksums, get_world(WORLD).sequence)


def binding_of(key: InstanceKey, params: int) -> Binding:
    return Binding(key.strategy_id, key.side, params={"n": params}, sector="tech", interval_seconds=BAR_SECONDS)


def push_bar(key: InstanceKey) -> None:
    act = shell()
    rows = SeriesRows(ts=array("q", [int(act.now.timestamp())]), ret=array("d", [0.001]))
    target = SeriesTarget(WORLD, key.strategy_id, Provenance.PAPER, key.side)
    ingest(target=target, rows=rows, revise=False, act=act)


def _text(version: int, terms: Terms) -> str:
    return _POLICY.format(
        version=version,
        promote="flat_then_enable" if terms.flat else "carry",
        demote="disable_then_flat" if terms.flat else "carry",
        circuit=_CIRCUIT if terms.circuit else "null",
        mode="auto" if terms.auto else "approval",
        approvals=terms.approvals,
        expiry=int(terms.expiry.total_seconds() // 60),
        changes=LIMITS.max_changes,
        shift=LIMITS.max_gross_shift,
    )
