"""What tests of kills do again and again: look at the gate, ask for a lift, grant it, let the tick follow up."""

from __future__ import annotations

from django.contrib.auth.models import User

from tests.worlds.factories import act_of
from tests.worlds.steps import GOOD
from worlds.models import Reopening, World
from worlds.services.activation import activation_of
from worlds.services.authority import act_of_system
from worlds.services.kill_follow_up import follow_up_kills
from worlds.services.kills import standing_kills
from worlds.services.reopening_requests import Asked
from worlds.services.reopenings import ask, grant
from worlds.stores.clock import database_now


def gate_of(world: World) -> tuple[str, str]:
    """Return how far the gate of ``good`` is open, and why."""
    envelope = activation_of(world_id=world.id, key=GOOD).envelope
    return envelope.gate.value, envelope.reason


def ask_lift(world: World, user: User, scope: str = "") -> Reopening:
    """Ask, with the password just entered, that the kills of that scope be lifted."""
    asked = Asked(world.id, Reopening.Subject.KILL, scope, standing_kills(world_id=world.id, scope=scope))
    return ask(asked=asked, reauthenticated_at=database_now(), act=act_of(user))


def lift(world: World, reopening: Reopening, user: User) -> Reopening:
    """Grant it with the password just entered."""
    act = act_of(user)
    return grant(world_id=world.id, reopening_id=reopening.pk, reauthenticated_at=act.now, act=act)


def follow_up() -> None:
    """Do what the tick does after kills."""
    follow_up_kills(act=act_of_system(reason="tick"))
