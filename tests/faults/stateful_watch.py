"""The invariants of PROTOCOL 2, asked of what is stored after every step, whatever the oracle thinks of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final

from audit.chain import row_hash
from audit.models import AuditEvent, AuditHead, AuditRun
from audit.run_verification import verify_runs
from audit.verification import verify_stored_chain
from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.plans import EMPTY_SET, ActiveSet, parse_active_set
from qmtl_worlds.contracts.states import EXCLUSIVE_STATES, TERMINAL_STATES, RunKind, RunState
from qmtl_worlds.lifecycle.budget import Exposures, violations
from qmtl_worlds.lifecycle.plan import is_reduction
from tests.faults.simulator_rows import ensure
from tests.faults.stateful_queries import questions
from tests.faults.stateful_reopenings import TAKE_TWO
from tests.faults.stateful_rows import CAPS, POLICIES, WORLD
from tests.faults.stateful_view import View
from worlds.models import ActivationEntry
from worlds.services.activation import activation_of

AUTHOR: Final = "alice"
LIFTED_BY: Final = {
    "freeze": {"unfreeze"},
    "kill": {"lift", "grant"},
    "circuit": {"reset", "grant"},
    "override": {"tick", "grant"},
    "awaiting_flat": {"acknowledge", "grant"},
}
"""Which acts take away a hold; runs take away their own, and an override its freeze."""
_STRANGER: Final = InstanceKey("nobody", Side.LONG)
_FIRST: Final[View] = {
    "world": [0, 0],
    "runs": {},
    "sets": {},
    "holds": [],
    "members": {},
    "answers": [],
    "kills": [],
    "layers": {},
}


@dataclass(slots=True)
class Watch:
    """What was seen last, and every committed set by its generation."""

    last: View = field(default_factory=lambda: _FIRST)
    sets: dict[int, ActiveSet] = field(default_factory=lambda: {0: EMPTY_SET})

    def look(self, view: View, verbs: AbstractSet[str]) -> None:
        """Compare what is stored now with what must hold, and with what was stored before these ``verbs``.

        Raises:
            BrokenInvariantError: something does not hold; the text names it.
        """
        before, self.last = self.last, view
        _numbers_rise(before, view)
        _ended_runs_stay(before["runs"], view["runs"])
        _one_increase(view["runs"].values())
        _two_persons(view["runs"].values())
        _two_open(view["wanted"])
        _changes_are_told(before, view)
        _holds_are_their_owners(before, view, verbs)
        _answers_are_one_set(view)
        self._sets_are_sound(before, view)

    def _sets_are_sound(self, before: View, view: View) -> None:
        """Each new set keeps the budgets; a reduce run permits less, a rollback no more than what it goes back to."""
        generation = view["world"][0]
        if generation == before["world"][0]:
            return
        content = parse_active_set({key: seat[1] for key, seat in view["members"].items()})
        self.sets[generation] = content
        ensure(
            "I2", holds=view["sets"][str(generation)][1] == content.content_hash, says="another content than its hash"
        )
        ensure("I17", holds=not violations(content, CAPS, Exposures(), admitted=frozenset()), says="over a budget")
        run = view["runs"][view["sets"][str(generation)][0]]
        if generation != before["world"][0] + 1:
            return
        if run[0][0] == RunKind.REDUCE:
            ensure(
                "SEMANTICS 0.5", holds=is_reduction(self.sets[generation - 1], content), says="reducing permits more"
            )
        elif (
            (target := run[2][3]) is not None
            and target in self.sets
            and run[0][1] in {RunState.SWITCHED, RunState.DONE}
        ):
            ensure("I21", holds=is_reduction(self.sets[target], content), says="more than the named generation")


def new_events(hashes: Mapping[str, str]) -> list[AuditEvent]:
    """Return what the audit has of the world since it was last looked at."""
    return list(AuditEvent.objects.filter(chain=WORLD, seq__gt=int(hashes["seq"])).order_by("seq"))


def check_logs(hashes: dict[str, str], events: Iterable[AuditEvent], *, sequence: int) -> None:
    """See that the logs have no gap and that what is new in the audit hangs on what was there (I7, I19)."""
    for event in events:
        ensure("I7", holds=event.prev_hash == hashes["hash"], says=f"row {event.seq} hangs on nothing")
        ensure("I7", holds=row_hash(event.chain_row()) == event.hash, says=f"row {event.seq} was altered")
        hashes |= {"seq": str(event.seq), "hash": event.hash}
    last = int(hashes["sequence"])
    found = [row[0] for row in questions()["outbox"].ask(last)]
    ensure("I19", holds=found == list(range(last + 1, sequence + 1)), says="the outbox has a gap")
    hashes["sequence"] = str(sequence)


def check_origins(generation: int) -> None:
    """See that every active entry leads to its run, evaluation, policy and people (I15), and strangers to nothing."""
    entries = ActivationEntry.objects.filter(set__world_id=WORLD, set__generation=generation)
    for entry in entries.select_related("set__run__policy"):
        run = entry.set.run
        evaluation = AuditRun.objects.filter(world_id=WORLD, run_id=entry.evaluation_run_id).first()
        ensure("I15", holds=evaluation is not None and evaluation.inputs_digest != "", says="no evaluation behind it")
        ensure("I15", holds=run.policy.checksum != "" and run.requested_by != "", says="nobody asked for it")
    answer = activation_of(world_id=WORLD, key=_STRANGER).envelope
    ensure("I13", holds=(answer.active, answer.weight, answer.gate) == (False, 0.0, "closed"), says="a stranger trades")


def check_whole_audit() -> None:
    """Verify every chain and every evaluation, as ``audit_verify`` does."""
    for chain in AuditHead.objects.values_list("chain", flat=True):
        report = verify_stored_chain(chain, progress=lambda _count: None)
        ensure("I7", holds=report.finding is None, says=str(report.finding))
    _, finding = verify_runs(worlds=None, progress=lambda _count: None)
    ensure("I7", holds=finding is None, says=str(finding))


def _numbers_rise(before: View, view: View) -> None:
    ensure("I6", holds=view["world"][:2] >= before["world"][:2], says="generation or sequence falls")
    ensure("I6", holds=view["world"][1] >= before["world"][1], says="the sequence falls")
    same = all(view["sets"].get(number) == content for number, content in before["sets"].items())
    ensure("I6", holds=same, says="a committed set changed or is gone")
    ensure("I6", holds=len(view["sets"]) == view["world"][0], says="a generation is missing")
    for run_id, run in before["runs"].items():
        ensure("I6", holds=view["runs"][run_id][0][3] >= run[0][3], says=f"the epoch of {run_id} falls")


def _ended_runs_stay(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    for run_id, run in before.items():
        ensure("I4", holds=after[run_id][2][0] == run[2][0], says=f"{run_id} has another plan")
        if run[0][1] in TERMINAL_STATES:
            ensure("I4", holds=after[run_id] == run, says=f"{run_id} had ended")


def _one_increase(runs: Iterable[Any]) -> None:
    live = [run for run in runs if run[0][0] == RunKind.INCREASE and run[0][1] in EXCLUSIVE_STATES]
    ensure("I3", holds=len(live) <= 1, says="two increase runs at once")


def _two_persons(runs: Iterable[Any]) -> None:
    """A run that went on without an automatic envelope was approved by enough people who had no part in it."""
    for run in runs:
        (kind, state, *_), (policy, _, auto, approvers), requester = run[0], run[3], run[4][1]
        ensure("I9", holds=not {requester, AUTHOR} & set(approvers), says="somebody approved what is their own")
        went_on = state in EXCLUSIVE_STATES | {RunState.DONE, RunState.ROLLED_BACK}
        if kind == RunKind.INCREASE and went_on and not auto:
            ensure("I9", holds=len(set(approvers)) >= POLICIES[policy].approvals, says="too few approved")


def _changes_are_told(before: View, view: View) -> None:
    """No change of a run, a hold or a set without a row in the audit and in the outbox, in the same step (I7, I19)."""
    told = {run_id for _, run_id, _ in view["audit"]}
    for run_id, run in view["runs"].items():
        if run[0][1] != before["runs"].get(run_id, [["", ""]])[0][1]:
            ensure("I7", holds=run_id in told, says=f"{run_id} moved without a record")
    visible = ("runs", "holds", "members", "sets", "layers")
    moved = [name for name in visible if _states(name, before) != _states(name, view)]
    if moved and view["kills"] == before["kills"]:  # a kill has a chain of its own, and leaves the outbox to the tick
        ensure("I7", holds=bool(view["audit"]), says=f"{moved} changed without a record")
        ensure("I19", holds=bool(view["outbox"]), says=f"{moved} changed without a word")


def _states(name: str, view: View) -> Any:
    """What others may see of a part: of runs their states, since leases and epochs are the workers' own."""
    if name == "runs":
        return {run_id: run[0][1] for run_id, run in view["runs"].items()}
    return {key: layer[0] for key, layer in view["layers"].items()} if name == "layers" else view[name]


def _holds_are_their_owners(before: View, view: View, verbs: AbstractSet[str]) -> None:
    """A hold goes away only by its own kind (I12)."""
    there = {tuple(hold[:3]) for hold in view["holds"]}
    for kind, owner, scope, *_ in before["holds"]:
        if (kind, owner, scope) in there:
            continue
        if kind == "apply":
            ended = view["runs"][owner][0][1] in TERMINAL_STATES
            ensure("I12", holds=ended, says=f"the hold of {owner} went before it ended")
        elif kind == "withdrawn":
            ensure("I12", holds=scope not in view["members"], says=f"{scope} is still a member")
        elif kind == "awaiting_flat" and _is_undone(view, owner.removesuffix(f":{scope}")):
            continue
        else:
            rule = "override" if owner.startswith("override:") else kind
            ensure("I12", holds=bool(LIFTED_BY[rule] & verbs), says=f"one of {verbs} took away a {kind}")


def _is_undone(view: View, run_id: str) -> bool:
    """Tell whether a run gives back what it had changed, and with it what it wanted flat."""
    return view["runs"][run_id][0][1] in {RunState.ROLLING_BACK, RunState.ROLLED_BACK, RunState.HELD}


def _two_open(wanted: Iterable[Any]) -> None:
    """What takes two people to open was granted by another one than who asked (I9)."""
    for subject, _, state, requester, decider in wanted:
        if state == "granted" and subject in TAKE_TWO:
            ensure("I9", holds=decider not in {"", requester}, says=f"{requester} alone opened an {subject}")


def _answers_are_one_set(view: View) -> None:
    """Every answer is of the committed set, at its weight, and none opens under a hold of the world (I2, I13)."""
    caps = {key: layer[0] for key, layer in view["layers"].items()}
    weights = {key: min(seat[1], caps.get(key, 1.0)) for key, seat in view["members"].items()}
    shut = view["world"][-1] != "ACTIVE" or any(not scope for _, _, scope, *_ in view["holds"])
    for body, _ in view["answers"]:
        key = f"{body['strategy_id']}|{body['side']}"
        ensure("I2", holds=[body["generation"], body["sequence"]] == view["world"][:2], says="answers of two states")
        expected = weights.get(key, 0.0) if body["active"] else 0.0
        ensure("I2", holds=body["weight"] == expected, says=f"{key} was told what no committed set says")
        ensure("I13", holds=not (body["active"] and (shut or key not in weights)), says=f"{key} trades without leave")
        ensure("I13", holds=body["active"] == (body["gate"] == "open") and body["reason"] != "", says="no reason")
