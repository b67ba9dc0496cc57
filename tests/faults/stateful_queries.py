"""Questions that the state machine asks of the rows after every step; each is turned into SQL once."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import QuerySet

from audit.chain import kill_chain
from audit.models import AuditEvent, AuditHead
from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.lease import Position
from strategies.models import StrategyInstance
from tests.faults.stateful_rows import WORLD
from worlds.models import (
    ActivationEntry,
    ActivationSet,
    ApplyRun,
    Approval,
    CircuitState,
    Demotion,
    GateHold,
    OutboxEvent,
    Override,
    Pin,
    Reopening,
    RunnerSession,
    World,
)

_MEMBER: Final = (
    "instance__strategy_id",
    "instance__side",
    "instance_id",
    "weight",
    "promoted_at",
    "evaluation_run_id",
)
_RUN: Final = (
    *("run_id", "kind", "state", "state_reason", "epoch", "attempts"),
    *("lease_until", "drain_until", "deadline_at", "approval_expires_at"),
    *("plan_hash", "base_generation", "target_generation", "rollback_to", "result"),
    *("policy__version", "evaluation__run_id", "auto", "reduce_run__run_id", "requested_by"),
)
_WORLD: Final = ("generation", "sequence", "paused", "lease_ms", "policy__version", "state", "incarnation")
_ANY: Final = 1
"""What stands in a question for the number that is given with it."""


class Question:
    """A query by values that is compiled once; its last condition is given when it is asked, if it is open."""

    def __init__(self, queryset: QuerySet[Any, Any]) -> None:
        self._compiler = queryset.query.get_compiler(DEFAULT_DB_ALIAS)
        self._sql, self._values = self._compiler.as_sql()

    def ask(self, number: int | None = None) -> list[tuple[Any, ...]]:
        """Return what the rows say now."""
        values = self._values if number is None else (*self._values[:-1], number)
        with connection.cursor() as cursor:
            cursor.execute(self._sql, values)
            found = cursor.fetchall()
        return [tuple(row) for row in self._compiler.results_iter([found])]


@cache
def questions() -> dict[str, Question]:
    """Return all questions, by the part of the view that they are for."""
    entries = ActivationEntry.objects.filter(set__world=WORLD).filter(set__generation=_ANY)
    sets = ActivationSet.objects.filter(world=WORLD).order_by("generation")
    outbox = OutboxEvent.objects.filter(world=WORLD).order_by("sequence").filter(sequence__gt=_ANY)
    kills = AuditEvent.objects.filter(chain=kill_chain(WORLD)).order_by("seq")
    reopenings = Reopening.objects.filter(world=WORLD).order_by("id")
    circuit = CircuitState.objects.filter(world=WORLD)
    found: dict[str, QuerySet[Any, Any]] = {
        "world": World.objects.filter(id=WORLD).values_list(*_WORLD),
        "pin": Pin.objects.filter(world=WORLD).values_list("generation"),
        "killed": AuditHead.objects.filter(chain=kill_chain(WORLD)).values_list("seq"),
        "holds": _of_world(GateHold).values_list("kind", "owner", "scope", "level", "placed_by", "placed_at"),
        "members": entries.order_by().values_list(*_MEMBER),
        "sets": sets.values_list("generation", "run__run_id", "content_hash"),
        "runs": _of_world(ApplyRun).values_list(*_RUN),
        "approvals": Approval.objects.filter(run__world=WORLD).order_by().values_list("run__run_id", "approver"),
        "instances": _of_world(StrategyInstance)
        .order_by("id")
        .values_list("id", "strategy_id", "side", "wanted", "withdrawn_at", "fresh_until"),
        "demotions": Demotion.objects.filter(instance__world=WORLD).order_by().values_list("instance_id", "demoted_at"),
        "outbox": outbox.values_list("sequence", "kind", "created_at"),
        "kills": kills.values_list("actor"),
        "layers": _of_world(Override).values_list("scope", "cap", "set_by", "set_at", "expires_at", "stays_closed"),
        "wanted": reopenings.values_list("subject", "scope", "state", "requested_by", "decided_by"),
        "circuit": circuit.values_list(
            "incident", "breaching_count", "last_ts", "warned", "high_water", "high_water_at"
        ),
        "runner": _of_world(RunnerSession).values_list("sequence", "hold_sequence"),
    }
    return {name: Question(queryset) for name, queryset in found.items()}


def standing() -> tuple[Position, int]:
    """Return where the world is, and which of its sets stands."""
    world, killed = questions()["world"].ask()[0], questions()["killed"].ask()
    return Position(world[6], world[1], killed[0][0] if killed else 0), world[0]


def weights_of(generation: int) -> dict[str, float]:
    """Return what the members of a set may weigh, under what lies over them now."""
    caps = {row[0]: row[1] for row in questions()["layers"].ask()}
    rows = questions()["members"].ask(generation)
    weights = {InstanceKey(row[0], Side(row[1])).text: row[3] for row in rows}
    return {key: min(weight, caps.get(key, 1.0)) for key, weight in weights.items()}


def _of_world(model: Any) -> QuerySet[Any, Any]:
    found: QuerySet[Any, Any] = model.objects.filter(world=WORLD).order_by()
    return found
