"""Buttons that open again what was closed, or ask for it; each takes away one thing and leaves the rest."""

from __future__ import annotations

from typing import Final

from qmtl_worlds.contracts.activation import GateLevel
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.lifecycle.holds import HoldKind
from worlds.admin.acting import Button, Done, Submission
from worlds.admin.closing_forms import AskForm, ResetForm
from worlds.admin.scoped import page_address, world_address
from worlds.models import GateHold, Reopening, World
from worlds.selectors import find_pin
from worlds.services.circuit_reset import request_reset
from worlds.services.circuits import find_circuit
from worlds.services.gate_levels import OWNER, GateSetting, set_gate
from worlds.services.kills import allow_flattening, closed_kills, is_killed, standing_kills
from worlds.services.pins import unpin
from worlds.services.reauthentication import reauthenticated_at
from worlds.services.reopening_requests import Asked
from worlds.services.reopenings import ask
from worlds.services.restore import FENCED, lift_boot
from worlds.services.suspension import take_up_world


def lift_kill(sent: Submission, *, world_id: str, scope: str = "") -> Done:
    """Ask that the kills which stand be lifted; where one person suffices and has the right, they are."""
    asked = Asked(world_id, Reopening.Subject.KILL, scope, standing_kills(world_id=world_id, scope=scope))
    reopening = ask(asked=asked, reauthenticated_at=reauthenticated_at(sent.request.session), act=sent.act)
    return asked_or_done(reopening, "The kill is lifted.", page_address(sent.target))


def asked_or_done(reopening: Reopening, done: str, address: str) -> Done:
    """Return what became of asking: where it was granted at once, ``done``."""
    if reopening.state == Reopening.State.GRANTED:
        return Done(done, address)
    other = ", another person than you" if reopening.second_person else ""
    return Done(f"Asked for. Somebody with the right to decides{other}.", page_address(reopening))


def reopen_gate(sent: Submission, *, world_id: str, key: InstanceKey | None = None) -> Done:
    """Take back the level that somebody set, and nothing else."""
    set_gate(world_id=world_id, setting=GateSetting(GateLevel.OPEN, key), act=sent.act)
    return Done("What was set is taken back. Other holds stay.", page_address(sent.target))


def is_set(world_id: str, scope: str = "") -> bool:
    """Tell whether somebody set the level of this gate."""
    holds = GateHold.objects.filter(world_id=world_id, scope=scope, kind=HoldKind.FREEZE.value)
    return holds.filter(owner=OWNER).exists()


def _flatten(sent: Submission) -> Done:
    allow_flattening(world_id=sent.target.id, act=sent.act)
    return Done("Orders that reduce risk pass. The kill stays.", world_address(sent.target.id))


def _lift(sent: Submission) -> Done:
    return lift_kill(sent, world_id=sent.target.id)


def _take_up(sent: Submission) -> Done:
    take_up_world(world_id=sent.target.id, act=sent.act)
    return Done("The world is taken up again.", world_address(sent.target.id))


def _reset(sent: Submission) -> Done:
    reopening = request_reset(
        world_id=sent.target.id,
        high_water_mark=sent.values["high_water_mark"],
        reauthenticated_at=reauthenticated_at(sent.request.session),
        act=sent.act,
    )
    return asked_or_done(reopening, "The circuit is reset.", world_address(sent.target.id))


def _unpin(sent: Submission) -> Done:
    unpin(world_id=sent.target.id, act=sent.act)
    return Done("Unpinned: increases may start by themselves again.", world_address(sent.target.id))


def _reopen_gate(sent: Submission) -> Done:
    return reopen_gate(sent, world_id=sent.target.id)


def _lift_boot(sent: Submission) -> Done:
    lift_boot(world_id=sent.target.id, act=sent.act)
    return Done("The fence of the restore is lifted. Other holds stay.", world_address(sent.target.id))


def _lives(world: World) -> bool:
    return world.state != World.State.DELETED


def _is_tripped(world: World) -> bool:
    circuit = find_circuit(world_id=world.id)
    return _lives(world) and circuit is not None and bool(circuit.incident)


def _is_fenced(world: World) -> bool:
    return GateHold.objects.filter(world=world, scope="", kind=HoldKind.BOOT.value, owner=FENCED).exists()


def _after_lift(world: World) -> str:
    if world.mode == World.Mode.LIVE:
        return "Nothing more, until another person with the role risk grants it; then the active set, unless held."
    return "The active set, once somebody with the role risk has granted it, as far as no other hold stands."


OPENING_BUTTONS: Final = (
    Button(
        name="take-up",
        label="Take up again",
        permission="apply.approve",
        afterwards=lambda _world: "What the active set says, unless something else holds the gate.",
        perform=_take_up,
        shown=lambda world: world.state == World.State.SUSPENDED,
    ),
    Button(
        name="let-exits-through",
        label="Let exits through",
        permission="gate.lift_kill",
        afterwards=lambda _world: "Only orders that reduce risk. The kill stays, and nothing may come in.",
        perform=_flatten,
        shown=lambda world: _lives(world) and closed_kills(world_id=world.id),
    ),
    Button(
        name="lift-kill",
        label="Lift the kill",
        permission="gate.reopen",
        afterwards=_after_lift,
        perform=_lift,
        form=AskForm,
        shown=lambda world: _lives(world) and is_killed(world_id=world.id),
    ),
    Button(
        name="reset-circuit",
        label="Reset the circuit",
        permission="gate.reopen",
        afterwards=_after_lift,
        perform=_reset,
        form=ResetForm,
        shown=_is_tripped,
    ),
    Button(
        name="unpin",
        label="Unpin",
        permission="gate.reopen",
        afterwards=lambda _world: "What is active goes on trading. The schedule may ask for increases again.",
        perform=_unpin,
        shown=lambda world: _lives(world) and find_pin(world.id) is not None,
    ),
    Button(
        name="reopen-gate",
        label="Open it again",
        permission="gate.reopen",
        afterwards=lambda _world: "The active set, as far as no other hold stands: only what was set is taken back.",
        perform=_reopen_gate,
        shown=lambda world: _lives(world) and is_set(world.id),
    ),
    Button(
        name="lift-boot",
        label="Open after the restore",
        permission="gate.lift_kill",
        afterwards=lambda _world: (
            "What the restored rows say. Compare them first with what was true before: nobody can check that for you."
        ),
        perform=_lift_boot,
        shown=_is_fenced,
    ),
)
