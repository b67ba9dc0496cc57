"""What can be seen of a world, told by the rows and by the oracle in the same words, to be compared step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from audit.models import AuditEvent
from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.contracts.states import WorldMode
from qmtl_worlds.lifecycle.gate import EntryFacts, WorldFacts, answer, lease_left_ms, state_hash
from qmtl_worlds.lifecycle.holds import HoldKind
from qmtl_worlds.lifecycle.world import effective_mode
from tests.faults.stateful_oracle import Oracle
from tests.faults.stateful_queries import questions
from tests.faults.stateful_rows import KEYS, WORLD, Circuit, Placed, Run
from worlds.services.activation import activation_of, activations_of

View = dict[str, Any]
_ACTS: Final = frozenset(
    {"apply", "circuit", "evaluation", "gate", "override", "policy", "rollback", "roster", "strategy", "world"}
)
_WATCHES: Final = ("gate.flat_overdue",)


@dataclass(slots=True)
class Seen:
    """How far the two logs were compared already."""

    outbox: int
    told: int = 0

    def move(self, view: View) -> None:
        """Go on behind what ``view`` has of the logs."""
        self.outbox += len(view["outbox"])
        self.told += len(view["audit"])


def stored_view(seen: Seen, news: Sequence[AuditEvent], bells: list[str], asked: Sequence[int] | None) -> View:
    """Tell what the rows say; ``asked`` are the places of those who are asked for, None asks for all at once."""
    ask = {name: question.ask for name, question in questions().items()}
    world, pin, instances = ask["world"]()[0], ask["pin"](), ask["instances"]()
    numbers = {row[0]: place for place, row in enumerate(instances, 1)}
    generation, sequence, paused, lease_ms, policy, state, _ = world
    return {
        "world": [generation, sequence, paused, lease_ms, policy, pin[0][0] if pin else None, state],
        "holds": sorted([*row[:5], _time(row[5])] for row in ask["holds"]()),
        "members": {
            InstanceKey(row[0], Side(row[1])).text: [numbers[row[2]], row[3], _time(row[4]), row[5]]
            for row in ask["members"](generation)
        },
        "sets": {str(row[0]): list(row[1:]) for row in ask["sets"]()},
        "runs": _stored_runs(ask["runs"](), ask["approvals"]()),
        "instances": [
            [InstanceKey(row[1], Side(row[2])).text, row[3], _time(row[4]), _time(row[5])] for row in instances
        ],
        "demotions": {str(numbers[row[0]]): _time(row[1]) for row in ask["demotions"]()},
        "layers": {row[0]: [row[1], row[2], _time(row[3]), _time(row[4]), row[5]] for row in ask["layers"]()},
        "wanted": [[*row[:3], _name(row[3]), _name(row[4])] for row in ask["wanted"]()],
        "circuit": [[*row[:2], _time(row[2]), bool(row[3]), row[4], _time(row[5])] for row in ask["circuit"]()],
        "runner": [list(row) for row in ask["runner"]()],
        "outbox": [[row[1], _time(row[2])] for row in ask["outbox"](seen.outbox)],
        "audit": [[event.kind, event.run_id, event.actor] for event in news if _is_act(event)],
        "kills": [row[0] for row in ask["kills"]()],
        "answers": _stored_answers(asked),
        "bells": sorted(bells),
    }


def expected_view(oracle: Oracle, seen: Seen, asked: Sequence[int] | None) -> View:
    """Tell what the rows must say."""
    rows = oracle.rows
    return {
        "world": [
            *(rows.generation, oracle.sequence, rows.paused, rows.lease_ms, rows.policy, rows.pin),
            "SUSPENDED" if rows.suspended else "ACTIVE",
        ],
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
        "layers": {
            key.text: [one.cap, one.by, _time(one.at), _time(one.expires_at), one.stays_closed]
            for key, one in rows.layers.items()
        },
        "wanted": [
            [one.subject, one.key.text if one.key else "", one.state, one.requester, one.decider] for one in rows.wanted
        ],
        "circuit": [] if rows.circuit is None else [_expected_circuit(rows.circuit)],
        "runner": [] if rows.heard is None else [list(rows.heard)],
        "outbox": [[kind, _time(at)] for kind, at in rows.outbox[seen.outbox :]],
        "audit": [list(event) for event in rows.audit[seen.told :]],
        "kills": list(rows.kills),
        "answers": _expected_answers(oracle, asked),
        "bells": sorted(rows.bells),
    }


def _is_act(event: AuditEvent) -> bool:
    """Tell whether the audit has it of an act; watchers and the reconciler tell of more than was done to the world."""
    return event.kind.split(".")[0] in _ACTS and event.kind not in _WATCHES


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


def _stored_runs(rows: list[tuple[Any, ...]], approvals: list[tuple[Any, ...]]) -> View:
    approvers: dict[str, list[str]] = {}
    for run_id, approver in approvals:
        approvers.setdefault(run_id, []).append(_name(approver))
    return {
        row[0]: [
            list(row[1:6]),
            [_time(at) for at in row[6:10]],
            list(row[10:15]),
            [row[15], row[16] or "", row[17], sorted(approvers.get(row[0], []))],
            [row[18] or "", _name(row[19])],
        ]
        for row in rows
    }


def _expected_hold(placed: Placed) -> list[object]:
    hold = placed.hold
    scope = hold.key.text if hold.key else ""
    return [hold.kind.value, hold.owner, scope, hold.level.value, placed.by, _time(placed.at)]


def _expected_run(run: Run) -> list[object]:
    view = run.view
    return [
        [view.kind.value, view.state.value, run.reason, view.epoch, view.attempts],
        [_time(at) for at in (view.worker_lease_until, view.drain_until, view.deadline_at, run.expires_at)],
        [view.plan.plan_hash, view.plan.base_generation, run.target, run.rollback_to, run.result],
        [run.policy, run.evaluation, run.auto, sorted(run.approvals)],
        [run.reduce_run, run.requester],
    ]


def _expected_circuit(circuit: Circuit) -> list[object]:
    return [
        *(circuit.incident, circuit.breaching, _time(circuit.last)),
        *(circuit.warned, circuit.mark, _time(circuit.mark_at)),
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
            circuit_open=any(kind is HoldKind.CIRCUIT for kind, _, _ in rows.holds),
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
            content_hash=rows.set_of(rows.generation).content_hash,
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
        key: EntryFacts(
            key,
            bound=True,
            weight=seat.weight,
            cap=rows.layers[key].cap if key in rows.layers else 1.0,
            fresh_until=rows.instances[seat.instance].fresh_until,
        )
        for key, seat in rows.seats.items()
    }
    return bound | seats


def _known(oracle: Oracle, asked: int) -> EntryFacts:
    """An instance that was withdrawn stays known, so that it may let go of what it holds."""
    ever = any(one.key == KEYS[asked] for one in oracle.rows.instances.values())
    return EntryFacts(KEYS[asked], bound=ever)


def _name(actor: str) -> str:
    return actor.removeprefix("person:")


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat(timespec="microseconds")
