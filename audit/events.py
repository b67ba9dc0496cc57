"""Every kind of audit event, with one line that says when it is written. Kinds are for ever: add, never rename."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_WORLD = {
    "world.created": "A world was created.",
    "world.updated": "Name, labels, owner or settings of a world were changed.",
    "world.mode_changed": "A world moved between paper, live, shadow and replay.",
    "world.suspended": "A world was suspended; its gates are closed.",
    "world.resumed": "A suspended world was taken up again.",
    "world.archived": "A world was archived; its audit stays.",
    "world.allow_live_requested": "Somebody wished that a world may trade live; an approval grants it.",
    "world.allow_live_granted": "A second person let a world trade live.",
}
_POLICY = {
    "policy.stored": "A policy version was stored.",
    "policy.refused": "A faulty policy text was refused; the version in force stays.",
    "policy.activation_requested": "Somebody asked that a policy version come into force.",
    "policy.activation_approved": "A second person approved that a policy version come into force.",
    "policy.activation_rejected": "A second person refused a policy version.",
    "policy.activation_cancelled": "A request for a policy version was withdrawn, expired or overtaken.",
    "policy.activated": "A policy version came into force.",
}
_STRATEGY = {
    "strategy.registered": "A strategy was registered.",
    "strategy.updated": "Name, owner or tags of a strategy were changed.",
    "strategy.bound": "A strategy was bound to a world.",
    "strategy.unbound": "A strategy was unbound from a world.",
    "strategy.rebound": "Other params were bound: the old instance is withdrawn, a new one starts afresh.",
    "strategy.withdrawn": "An instance was withdrawn; its gate is closed at once.",
    "strategy.deactivated": "An instance was deactivated; its gate is closed at once.",
    "strategy.reactivated": "A deactivated instance may be promoted again.",
    "roster.replaced": "The wanted set of candidates was replaced.",
}
_DATA = {
    "data.revised": "Stored returns were corrected; the old revision is kept.",
    "data.refused": "A push of returns or metrics was refused.",
    "data.stale": "The data of an instance went stale; its gate takes reducing orders only.",
    "data.fresh": "Stale data of an instance is fresh again.",
    "data.coverage_told": "A QMTL client told how far its data reaches.",
    "data.sealed": "Narrow rows were sealed into blocks.",
}
_EVALUATION = {
    "evaluation.recorded": "An evaluation finished; the digests of what it read and decided are in this row.",
    "evaluation.failed": "An evaluation ended in an error; nothing changed.",
    "evaluation.skipped": "A due evaluation was skipped, because the one before it was still running.",
    "evaluation.caught_up": "One evaluation stands for the slots missed while nothing ran.",
}
_APPLY = {
    "apply.requested": "A run was asked for.",
    "apply.refused": "A request for a run was refused.",
    "apply.split": "The risk-reducing part of a plan went ahead as its own run.",
    "apply.approved": "A second person approved a run.",
    "apply.rejected": "A second person refused a run.",
    "apply.queued": "A run has what it needs and waits for its turn.",
    "apply.superseded": "A newer plan took the place of a waiting run.",
    "apply.expired": "The approval of a run did not come in time.",
    "apply.cancelled": "A run was cancelled before it changed anything.",
    "apply.freezing": "A run closed the gates to orders that increase risk.",
    "apply.draining": "A run waits until every permission given before has expired.",
    "apply.frozen": "No permission is left anywhere; the set may be switched.",
    "apply.switched": "A new generation of the active set was committed.",
    "apply.completed": "A run ended well.",
    "apply.aborted": "An operator aborted a run.",
    "apply.rolling_back": "A run takes its change back.",
    "apply.rolled_back": "A run ended with the content it started from.",
    "apply.held": "A run stopped with its gates closed; a person must resume it or roll it back.",
    "apply.resumed": "A person let a held run go on.",
    "apply.fenced": "A worker that had lost its run came back; it changed nothing.",
    "apply.taken_over": "Another worker went on with a run whose worker was lost.",
}
_ROLLBACK = {
    "rollback.requested": "A return to an older generation was asked for.",
    "rollback.pinned": "A rollback pinned the set: automatic increases wait.",
    "rollback.unpinned": "The set may be increased automatically again.",
}
_OVERRIDE = {
    "override.requested": "An override that raises risk was asked for.",
    "override.approved": "A second person approved an override that raises risk.",
    "override.rejected": "A second person refused an override that raises risk.",
    "override.set": "An instance was set inactive, capped or active by hand.",
    "override.lifted": "An override was taken away.",
    "override.expired": "An override came to its end.",
}
_GATE = {
    "gate.set": "The level of a gate was set.",
    "gate.paused": "Automatic increases were paused; what is active goes on trading.",
    "gate.unpaused": "Automatic increases may go on.",
    "gate.frozen": "Gates were set to reducing orders only; the set is kept.",
    "gate.unfrozen": "A freeze was lifted.",
    "gate.killed": "Gates were closed and promotions forbidden until reset. In the chain `<world>!kill`.",
    "gate.kill_recovered": "A kill that closed first was recorded afterwards. In the chain `<world>!kill`.",
    "gate.kill_lift_requested": "Somebody asked that a kill be lifted.",
    "gate.kill_lift_rejected": "A request to lift a kill was refused or taken back.",
    "gate.kill_lifted": "A kill was lifted.",
    "gate.flattening_allowed": "Reducing orders were let through during a kill.",
    "gate.hold_placed": "A hold was put on a gate.",
    "gate.hold_released": "A hold was taken from a gate.",
    "gate.flat_acknowledged": "A Runner or a person confirmed that a position is flat.",
    "gate.flat_waiver_requested": "Somebody asked that a position count as flat without a confirmation.",
    "gate.flat_waiver_rejected": "A request not to wait for a flat position was refused or taken back.",
    "gate.flat_waived": "Two people decided not to wait for the confirmation that a position is flat.",
    "gate.flat_overdue": "A position was not confirmed flat by its deadline.",
}
_CIRCUIT = {
    "circuit.warned": "A risk figure came near its limit.",
    "circuit.tripped": "A risk figure broke its limit; the world is halted.",
    "circuit.reset_requested": "Somebody asked that the circuit be reset.",
    "circuit.reset_rejected": "A request to reset the circuit was refused or taken back.",
    "circuit.reset": "The circuit was reset.",
    "circuit.input_stale": "The input of the risk circuit went stale.",
    "circuit.input_fresh": "The input of the risk circuit is fresh again.",
}
_ACCESS = {
    "access.token_created": "A machine token was created.",
    "access.token_rotated": "A machine token was replaced; both work for the overlap.",
    "access.token_revoked": "A machine token was revoked.",
    "access.role_granted": "A person or token was given a role.",
    "access.role_revoked": "A role was taken from a person or token.",
    "access.reauthenticated": "A person entered the password again before an approval.",
    "access.refused": "Somebody asked for what they may not do.",
}
_SYSTEM = {
    "allocation.planned": "A plan that moves capital between worlds was made.",
    "allocation.executed": "A plan that moves capital between worlds was carried out.",
    "alert.raised": "An alert was raised.",
    "alert.cleared": "What an alert told of is over.",
    "alert.acknowledged": "A person took note of an alert.",
    "invariant.violated": "A safety rule was found broken; the world is closed.",
    "projection.repaired": "Redis held something else than the rows and was rewritten.",
    "system.restored": "The database was restored from a backup; the incarnation rose.",
    "system.demo_seeded": "The demonstration data was loaded.",
}

KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **_WORLD,
        **_POLICY,
        **_STRATEGY,
        **_DATA,
        **_EVALUATION,
        **_APPLY,
        **_ROLLBACK,
        **_OVERRIDE,
        **_GATE,
        **_CIRCUIT,
        **_ACCESS,
        **_SYSTEM,
    }
)
"""Dotted kind -> when it is written."""


def check_kind(kind: str) -> str:
    """Return ``kind`` if it is registered.

    Raises:
        ValueError: it is not; a new kind is added here first.
    """
    if kind not in KINDS:
        raise ValueError(f"Audit kind {kind!r} is not registered in audit/events.py.")
    return kind
