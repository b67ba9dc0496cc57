"""Buttons that close a world whatever happens."""

from __future__ import annotations

from typing import Final

from worlds.admin.acting import Button, Done, Submission
from worlds.admin.scoped import page_address, world_address
from worlds.models import World
from worlds.services.kills import Killed, kill
from worlds.services.suspension import suspend_world

KILL_REASON: Final = "Killed by hand"


def killed_words(killed: Killed) -> str:
    """Return what a kill did."""
    told = "Killed: no order passes, exits included. Every permission from before dies with its lease."
    return told if killed.recorded else f"{told} The database is busy: a file closes the gates, and the record follows."


def _kill(sent: Submission) -> Done:
    return Done(killed_words(kill(world_id=sent.target.id, act=sent.act)), page_address(sent.target))


def _suspend(sent: Submission) -> Done:
    suspend_world(world_id=sent.target.id, act=sent.act)
    return Done("Suspended: no order passes. The active set is kept.", world_address(sent.target.id))


KILL_BUTTONS: Final = (
    Button(
        name="kill",
        label="Kill",
        permission="gate.close",
        afterwards=lambda world: (
            f"Nothing in {world}: every order is stopped, EXITS TOO, from the end of the present lease at the latest."
            " Nothing may come in until the kill is lifted"
            + (", which takes two people." if world.mode == World.Mode.LIVE else ".")
            + " To allow exits while it stands: Let exits through, by the role risk."
        ),
        perform=_kill,
        tone="kill",
        shown=lambda world: world.state != World.State.DELETED,
        reason=KILL_REASON,
    ),
    Button(
        name="suspend",
        label="Suspend",
        permission="gate.close",
        afterwards=lambda _world: (
            "Nothing, EXITS NEITHER. The active set is kept, and comes back as it was when the world is taken up again"
            " by somebody with the role approver or risk."
        ),
        perform=_suspend,
        tone="danger",
        shown=lambda world: world.state == World.State.ACTIVE,
    ),
)
