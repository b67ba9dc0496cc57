"""What tests of the risk circuit do again and again: a policy with limits, snapshots, a reset by who may."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.contrib.auth.models import User

from audit.models import AuditEvent
from qmtl_worlds.contracts.acts import Act
from tests.worlds.factories import POLICY, act_of, put_policy, shell
from worlds.models import Alert, CircuitState, GateHold, Reopening, World
from worlds.services.circuit_reset import request_reset
from worlds.services.equity import Pushed, Snapshot, push_equity
from worlds.stores.clock import database_now

CIRCUIT = POLICY + "risk: {{circuit: {limits}}}\n"
DRAWDOWN = "{max_drawdown: 0.10}"
MINUTE = timedelta(minutes=1)


def limit(world: World, alice: User, bob: User, limits: str = DRAWDOWN, *, max_lag: str = "3650d") -> None:
    """Put a policy with a risk circuit in force."""
    text = CIRCUIT.replace("{limits}", limits.replace("{", "{{").replace("}", "}}")).replace("3650d", max_lag)
    version = world.policy.version + 1 if world.policy else 1
    put_policy(world, author=alice, approver=bob, version=version, text=text)


def push(world: World, *equities: float, since: datetime | None = None, act: Act | None = None) -> Pushed:
    """Push one snapshot a minute, the last one a minute ago or from ``since`` on."""
    first = since or database_now() - len(equities) * MINUTE
    rows = [Snapshot(first + minute * MINUTE, equity) for minute, equity in enumerate(equities)]
    return push_rows(world, rows, act=act)


def push_rows(world: World, rows: Sequence[Snapshot], *, act: Act | None = None) -> Pushed:
    """Push these snapshots."""
    return push_equity(world_id=world.id, snapshots=rows, act=act or shell())


def tripped(world: World) -> bool:
    """Tell whether the circuit holds the world, and remembers that it does."""
    holds = set(GateHold.objects.filter(world=world, kind="circuit", scope="").values_list("owner", flat=True))
    state = CircuitState.objects.filter(world=world).first()
    assert holds == ({state.incident} if state and state.incident else set())
    return bool(holds)


def reset(world: World, who: User, mark: str = "keep", *, recent: bool = True) -> Reopening:
    """Ask for a reset, with the password just entered or not."""
    at = database_now() if recent else None
    return request_reset(world_id=world.id, high_water_mark=mark, reauthenticated_at=at, act=act_of(who, "looked at"))


def told(prefix: str = "circuit.") -> list[str]:
    """Return the audit kinds of the circuit, in order."""
    return list(AuditEvent.objects.filter(kind__startswith=prefix).order_by("seq").values_list("kind", flat=True))


def open_alerts(world: World) -> set[tuple[str, str]]:
    """Return kind and subject of what is open."""
    return set(Alert.objects.filter(world=world, cleared_at=None).values_list("kind", "subject"))
