"""Buttons that close a world whatever happens, and ask for it to be opened again."""

from __future__ import annotations

from worlds.admin.acting import Button, Done, Submission
from worlds.admin.scoped import world_address
from worlds.models import Reopening, World
from worlds.services.kills import allow_flattening, closed_kills, is_killed, kill, standing_kills
from worlds.services.reauthentication import reauthenticated_at
from worlds.services.reopening_requests import Asked
from worlds.services.reopenings import ask
from worlds.services.suspension import suspend_world, take_up_world


def _kill(sent: Submission) -> Done:
    killed = kill(world_id=sent.target.id, act=sent.act)
    told = "Killed: no order passes, exits included. Every permission from before dies with its lease."
    if not killed.recorded:
        told += " The database is busy: a file closes the gates, and the record follows."
    return Done(told, world_address(sent.target.id))


def _flatten(sent: Submission) -> Done:
    allow_flattening(world_id=sent.target.id, act=sent.act)
    return Done("Orders that reduce risk pass. The kill stays.", world_address(sent.target.id))


def _lift(sent: Submission) -> Done:
    asked = Asked(sent.target.id, Reopening.Subject.KILL, parameters=standing_kills(world_id=sent.target.id))
    entered = reauthenticated_at(sent.request.session)
    reopening = ask(asked=asked, reauthenticated_at=entered, act=sent.act)
    if reopening.state == Reopening.State.GRANTED:
        return Done("The kill is lifted.", world_address(sent.target.id))
    told = f"Request {reopening.pk} waits for somebody with the role risk"
    told += ", another person than you." if reopening.second_person else "."
    return Done(told, world_address(sent.target.id))


def _suspend(sent: Submission) -> Done:
    suspend_world(world_id=sent.target.id, act=sent.act)
    return Done("Suspended: no order passes. The active set is kept.", world_address(sent.target.id))


def _take_up(sent: Submission) -> Done:
    take_up_world(world_id=sent.target.id, act=sent.act)
    return Done("The world is taken up again.", world_address(sent.target.id))


def _lives(world: World) -> bool:
    return world.state != World.State.DELETED


KILL_BUTTONS = (
    Button(
        name="suspend",
        label="Suspend",
        permission="gate.close",
        afterwards=lambda _world: "Nothing, exits neither. The active set is kept until the world is taken up again.",
        perform=_suspend,
        shown=lambda world: world.state == World.State.ACTIVE,
    ),
    Button(
        name="take-up",
        label="Take up again",
        permission="apply.approve",
        afterwards=lambda _world: "What the active set says, unless something else holds the gate.",
        perform=_take_up,
        shown=lambda world: world.state == World.State.SUSPENDED,
    ),
    Button(
        name="kill",
        label="Kill",
        permission="gate.close",
        afterwards=lambda _world: (
            "Nothing: every order is stopped, EXITS TOO, from the end of the present lease at the latest. Promotions"
            " are forbidden until the kill is lifted; a live world needs two people for that."
        ),
        perform=_kill,
        tone="danger",
        shown=_lives,
    ),
    Button(
        name="let-exits-through",
        label="Let exits through",
        permission="gate.lift_kill",
        afterwards=lambda _world: "Only orders that reduce risk. The kill stays, and promotions stay forbidden.",
        perform=_flatten,
        shown=lambda world: _lives(world) and closed_kills(world_id=world.id),
    ),
    Button(
        name="lift-kill",
        label="Lift the kill",
        permission="gate.reopen",
        afterwards=lambda world: (
            "Nothing more until a second person with the role risk grants it."
            if world.mode == World.Mode.LIVE
            else "What the active set says, once somebody with the role risk has granted it."
        ),
        perform=_lift,
        shown=lambda world: _lives(world) and is_killed(world_id=world.id),
    ),
)
