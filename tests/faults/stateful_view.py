"""What can be seen of a world, told by the rows and by the oracle in the same words, to be compared step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.db.models import QuerySet

from audit.chain import kill_chain
from audit.models import AuditEvent
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.contracts.states import WorldMode
from qmtl_worlds.lifecycle.gate import EntryFacts, WorldFacts, answer, lease_left_ms, state_hash
from qmtl_worlds.lifecycle.world import effective_mode
from strategies.models import StrategyInstance
from tests.faults.stateful_oracle import Oracle
from tests.faults.stateful_rows import KEYS, WORLD, Placed, Run
from worlds.models import ActivationSet, ApplyRun, Demotion, GateHold, OutboxEvent
from worlds.selectors import find_pin, get_world, members_of
from worlds.services.activation import activation_of, activations_of

View = dict[str, Any]
_ACTS: Final = r"^(apply|evaluation|gate|policy|rollback|roster|strategy|world)\."
_WATCHES: Final = ("gate.flat_overdue",)


@dataclass(slots=True)
class Seen:
    """How far the two logs were compared already."""

    outbox: int
    audit: int
    told: int = 0

    def move(self, view: View) -> None:
        """Go on behind what ``view`` has of the logs."""
        self.outbox += len(view["outbox"])
        self.audit += len(view["audit"])
        self.told += len(view["audit"])


def stored_view(seen: Seen, bells: list[str], asked: Sequence[int] | None) -> View:
    """Tell what the rows say; ``asked`` are the places of those who are asked for, None asks for all at once."""
    world, pin = get_world(WORLD), find_pin(WORLD)
    numbers = {pk: place for place, pk in enumerate(_instances().values_list("id", flat=True), 1)}
    outbox = OutboxEvent.objects.filter(world_id=WORLD, sequence__gt=seen.outbox).order_by("sequence")
    audit = recorded_acts()[seen.audit :]
    return {
        "world": [
            *(world.generation, world.sequence, world.paused, world.lease_ms),
            *(world.policy and world.policy.version, pin and pin.generation),
        ],
        "holds": sorted(_stored_hold(row) for row in GateHold.objects.filter(world_id=WORLD)),
        "members": {
            key.text: [numbers[member.instance_id], member.weight, _time(member.promoted_at), member.evaluation_run_id]
            for key, member in sorted(members_of(WORLD, world.generation).items())
        },
        "sets": {
            str(row.generation): [row.run.run_id, row.content_hash]
            for row in ActivationSet.objects.select_related("run").filter(world_id=WORLD).order_by("generation")
        },
        "runs": {run.run_id: _stored_run(run) for run in _runs()},
        "instances": [
            [one.key.text, one.wanted, _time(one.withdrawn_at), _time(one.fresh_until)] for one in _instances()
        ],
        "demotions": {
            str(numbers[row.instance_id]): _time(row.demoted_at)
            for row in Demotion.objects.filter(instance__world_id=WORLD).order_by("instance_id")
        },
        "outbox": [[event.kind, _time(event.created_at)] for event in outbox],
        "audit": [[event.kind, event.run_id, event.actor] for event in audit],
        "kills": list(
            AuditEvent.objects.filter(chain=kill_chain(WORLD)).order_by("seq").values_list("actor", flat=True)
        ),
        "answers": _stored_answers(asked),
        "bells": sorted(bells),
    }


def expected_view(oracle: Oracle, seen: Seen, asked: Sequence[int] | None) -> View:
    """Tell what the rows must say."""
    rows = oracle.rows
    return {
        "world": [rows.generation, oracle.sequence, rows.paused, rows.lease_ms, rows.policy, rows.pin],
        "holds": sorted(_expected_hold(one) for one in rows.holds.values()),
        "members": {
            key.text: [seat.instance, seat.weight, _time(seat.since), seat.chosen_by]
            for key, seat in sorted(rows.seats.items())
        },
        "sets": {
            str(number): [run_id, rows.set_of(number).content_hash]
            for number, (run_id, _) in sorted(rows.sets.items())
            if number
        },
        "runs": {run_id: _expected_run(run) for run_id, run in sorted(rows.runs.items())},
        "instances": [
            [one.key.text, one.wanted, _time(one.withdrawn_at), _time(one.fresh_until)]
            for one in rows.instances.values()
        ],
        "demotions": {str(number): _time(at) for number, at in sorted(rows.demotions.items())},
        "outbox": [[kind, _time(at)] for kind, at in rows.outbox[seen.outbox :]],
        "audit": [list(event) for event in rows.audit[seen.told :]],
        "kills": list(rows.kills),
        "answers": _expected_answers(oracle, asked),
        "bells": sorted(rows.bells),
    }


def recorded_acts() -> QuerySet[AuditEvent]:
    """Return what the audit has of acts on the world; watchers and the reconciler tell of more than was done to it."""
    return AuditEvent.objects.filter(chain=WORLD, kind__regex=_ACTS).exclude(kind__in=_WATCHES).order_by("seq")


def differences(stored: View, expected: View) -> dict[str, tuple[object, object]]:
    """Return what is not the same: what the rows say, and what they must say."""
    return {name: (stored[name], expected[name]) for name in expected if stored[name] != expected[name]}


def _stored_answers(asked: Sequence[int] | None) -> list[Any]:
    """Ask for each of these by itself, or for all at once; an answer is an envelope and its lease."""
    if asked is None:
        return [[envelope.to_json(), None] for envelope in activations_of(world_id=WORLD).envelopes]
    answers = (activation_of(world_id=WORLD, key=KEYS[place]) for place in asked)
    return [[one.envelope.to_json(), one.lease_ms] for one in answers]


def _expected_answers(oracle: Oracle, asked: Sequence[int] | None) -> list[Any]:
    now, facts, entries = oracle.clock.now, _facts(oracle), _entries(oracle)
    if asked is None:
        return [[answer(entries[key], facts, now).to_json(), None] for key in sorted(entries)]
    return [_expected_answer(oracle, facts, entries.get(KEYS[place]) or _known(oracle, place)) for place in asked]


def _expected_answer(oracle: Oracle, facts: WorldFacts, entry: EntryFacts) -> list[Any]:
    now = oracle.clock.now
    envelope = answer(entry, facts, now)
    lease = lease_left_ms(
        envelope,
        lease_seconds=oracle.rows.lease_ms / 1000,
        confirmed_for_seconds=0.0,
        fresh_for_seconds=(entry.fresh_until - now).total_seconds() if entry.fresh_until else 0.0,
    )
    return [envelope.to_json(), lease]


def _instances() -> Any:
    return StrategyInstance.objects.filter(world_id=WORLD).order_by("id")


def _runs() -> Any:
    runs = ApplyRun.objects.filter(world_id=WORLD).select_related("policy", "evaluation", "reduce_run")
    return sorted(runs.prefetch_related("approvals"), key=lambda run: run.run_id)


def _stored_hold(row: GateHold) -> list[object]:
    return [row.kind, row.owner, row.scope, row.level, row.placed_by, _time(row.placed_at)]


def _expected_hold(placed: Placed) -> list[object]:
    hold = placed.hold
    scope = hold.key.text if hold.key else ""
    return [hold.kind.value, hold.owner, scope, hold.level.value, placed.by, _time(placed.at)]


def _stored_run(run: ApplyRun) -> list[object]:
    approvers = sorted(approval.approver.removeprefix("person:") for approval in run.approvals.all())
    return [
        [run.kind, run.state, run.state_reason, run.epoch, run.attempts],
        [_time(at) for at in (run.lease_until, run.drain_until, run.deadline_at, run.approval_expires_at)],
        [run.plan_hash, run.base_generation, run.target_generation, run.rollback_to, run.result],
        [run.policy.version, run.evaluation.run_id if run.evaluation else "", run.auto, approvers],
        [run.reduce_run.run_id if run.reduce_run else "", run.requested_by.removeprefix("person:")],
    ]


def _expected_run(run: Run) -> list[object]:
    view = run.view
    return [
        [view.kind.value, view.state.value, run.reason, view.epoch, view.attempts],
        [_time(at) for at in (view.worker_lease_until, view.drain_until, view.deadline_at, run.expires_at)],
        [view.plan.plan_hash, view.plan.base_generation, run.target, run.rollback_to, run.result],
        [run.policy, run.evaluation, run.auto, sorted(run.approvals)],
        [run.reduce_run, run.requester],
    ]


def _facts(oracle: Oracle) -> WorldFacts:
    rows, now = oracle.rows, oracle.clock.now
    bound = [one for one in rows.instances.values() if one.withdrawn_at is None and one.fresh_until is not None]
    position = Position(1, oracle.sequence, len(rows.kills))
    return WorldFacts(
        world_id=WORLD,
        mode=WorldMode.PAPER,
        effective_mode=effective_mode(
            WorldMode.PAPER,
            has_policy=True,
            anything_fresh=any(one.fresh_until is not None and one.fresh_until >= now for one in bound),
            circuit_open=False,
            has_applied_set=rows.generation > 0,
        ),
        has_applied_set=rows.generation > 0,
        holds=rows.held,
        position=position,
        generation=rows.generation,
        run_id=rows.sets[rows.generation][0],
        changed_at=rows.outbox[-1][1],
        state_hash=state_hash(
            world_id=WORLD,
            position=position,
            generation=rows.generation,
            content=rows.set_of(rows.generation),
            holds=rows.held,
        ),
    )


def _entries(oracle: Oracle) -> dict[Any, EntryFacts]:
    rows = oracle.rows
    bound = {
        one.key: EntryFacts(one.key, bound=True, fresh_until=one.fresh_until)
        for one in rows.instances.values()
        if one.withdrawn_at is None
    }
    seats = {
        key: EntryFacts(key, bound=True, weight=seat.weight, fresh_until=rows.instances[seat.instance].fresh_until)
        for key, seat in rows.seats.items()
    }
    return bound | seats


def _known(oracle: Oracle, asked: int) -> EntryFacts:
    """An instance that was withdrawn stays known, so that it may let go of what it holds."""
    ever = any(one.key == KEYS[asked] for one in oracle.rows.instances.values())
    return EntryFacts(KEYS[asked], bound=ever)


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat(timespec="microseconds")
