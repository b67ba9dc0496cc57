"""What operators and evaluators do, each act by a process of its own that may die under it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from qmtl_worlds.contracts.errors import WorldsError
from qmtl_worlds.contracts.ids import InstanceKey, Side
from torture.people import FIRST_EVALUATION, act_of
from worlds.models import ApplyRun, Reopening, World
from worlds.selectors import get_apply_run, get_world
from worlds.services.apply import ApplyRequest, request_apply
from worlds.services.approvals import abort, approve, resume
from worlds.services.authority import act_of_shell
from worlds.services.circuit_reset import request_reset
from worlds.services.circuits import RESET, find_circuit
from worlds.services.equity import Snapshot, push_equity
from worlds.services.evaluations import EvaluationRequest, request_evaluation
from worlds.services.holds import freeze, unfreeze
from worlds.services.kills import is_killed, kill, standing_kills
from worlds.services.reopening_requests import Asked
from worlds.services.reopenings import ask
from worlds.services.restore import fence_world, lift_boot
from worlds.services.rollback import RollbackRequest, request_rollback
from worlds.stores.clock import database_now
from worlds.work.evaluate import evaluate_world

Answer = dict[str, Any]
Words = Mapping[str, Any]


def operate(tell: Callable[[Answer], None], words: Words) -> None:
    """Do one act and tell how it was answered; a refusal is an answer."""
    try:
        answer = VERBS[words["verb"]](words)
    except WorldsError as error:
        answer = {"refused": error.code, "detail": error.detail}
    tell(answer)


def _evaluate(words: Words) -> Answer:
    act = act_of("erin")
    request = EvaluationRequest(words["run_id"], as_of=FIRST_EVALUATION + timedelta(days=words["day"]))
    request_evaluation(world_id=words["world_id"], request=request, act=act)
    run = evaluate_world(world_id=words["world_id"], run_id=words["run_id"], act=act)
    return {"state": run.state}


def _request(words: Words) -> Answer:
    """Ask for the whole plan of an evaluation, or that ``deactivate`` leaves."""
    named = tuple(InstanceKey(name, Side.LONG) for name in words.get("deactivate", ()))
    by_hand = () if named else None
    request = ApplyRequest(words["run_id"], words["evaluation"], activate=by_hand, deactivate=named or None)
    requested = request_apply(world_id=words["world_id"], request=request, act=act_of("alice"))
    return {"replayed": requested.replayed, **_told(requested.run)}


def _rollback(words: Words) -> Answer:
    request = RollbackRequest(words["run_id"], words["to_generation"])
    requested = request_rollback(world_id=words["world_id"], request=request, act=act_of("alice"))
    return {"replayed": requested.replayed, **_told(requested.run)}


def _approve(words: Words) -> Answer:
    run = get_apply_run(words["world_id"], words["run_id"])
    approved = approve(
        world_id=words["world_id"],
        run_id=words["run_id"],
        plan_hash=run.plan_hash,
        reauthenticated_at=database_now(),
        act=act_of(words.get("by", "bob")),
    )
    return _told(approved)


def _abort(words: Words) -> Answer:
    return _told(abort(world_id=words["world_id"], run_id=words["run_id"], act=act_of("alice")))


def _resume(words: Words) -> Answer:
    return _told(resume(world_id=words["world_id"], run_id=words["run_id"], act=act_of("bob")))


def _freeze(words: Words) -> Answer:
    return _position(freeze(world_id=words["world_id"], act=act_of("alice")))


def _unfreeze(words: Words) -> Answer:
    return _position(unfreeze(world_id=words["world_id"], act=act_of("bob")))


def _kill(words: Words) -> Answer:
    act = act_of("alice")
    started = time.monotonic()
    killed = kill(world_id=words["world_id"], act=act)
    return {"seconds": time.monotonic() - started, "recorded": killed.recorded}


def _lift(words: Words) -> Answer:
    """Lift every kill of the world, as the one person that it takes on paper."""
    world_id = words["world_id"]
    if not is_killed(world_id=world_id):
        return {"state": "open"}
    asked = Asked(world_id, Reopening.Subject.KILL, parameters=standing_kills(world_id=world_id))
    return {"state": ask(asked=asked, reauthenticated_at=database_now(), act=act_of("carol")).state}


def _trip(words: Words) -> Answer:
    """Tell that nearly everything is lost, which trips the circuit in the same transaction (I11)."""
    now = database_now()
    told = [Snapshot(now - timedelta(milliseconds=1), 100.0), Snapshot(now, 1.0)]
    pushed = push_equity(world_id=words["world_id"], snapshots=told, act=act_of_shell(reason="torture"))
    return {"incident": pushed.state.incident}


def _reset(words: Words) -> Answer:
    """Reset a tripped circuit, which on paper takes one person of the risk role."""
    world_id = words["world_id"]
    state = find_circuit(world_id=world_id)
    if state is None or not state.incident:
        return {"state": "open"}
    now = database_now()
    done = request_reset(world_id=world_id, high_water_mark=RESET, reauthenticated_at=now, act=act_of("carol"))
    return {"state": done.state}


def _fence(words: Words) -> Answer:
    """Do as after a restore: count anew, hold what is under way, close."""
    fence_world(world_id=words["world_id"], act=act_of("carol"))
    return _position(get_world(words["world_id"]))


def _open(words: Words) -> Answer:
    """Lift the fence."""
    lift_boot(world_id=words["world_id"], act=act_of("carol"))
    return _position(get_world(words["world_id"]))


def _told(run: ApplyRun) -> Answer:
    return {"state": run.state, "kind": run.kind, "digest": run.request_digest}


def _position(world: World) -> Answer:
    return {"incarnation": world.incarnation, "sequence": world.sequence}


VERBS: Final[Mapping[str, Callable[[Words], Answer]]] = {
    "evaluate": _evaluate,
    "request": _request,
    "rollback": _rollback,
    "approve": _approve,
    "abort": _abort,
    "resume": _resume,
    "freeze": _freeze,
    "unfreeze": _unfreeze,
    "kill": _kill,
    "lift": _lift,
    "trip": _trip,
    "reset": _reset,
    "fence": _fence,
    "open": _open,
}
