"""Who does something, with what rights, why and when: travels with every verb into the audit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from qmtl_worlds.contracts.errors import PermissionDeniedError, StrategyNotFoundError, WorldNotFoundError

ANY_WORLD: Final = "*"
"""The key under which rights in every world stand."""
READ: Final = "world.read"


@dataclass(frozen=True, slots=True)
class Grants:
    """What an actor may do: permissions per world, ``*`` for all worlds; ``strategies`` limits a token to those ids."""

    by_world: Mapping[str, frozenset[str]] = field(default_factory=dict)
    strategies: frozenset[str] | None = None

    def allows(self, permission: str, world_id: str) -> bool:
        """Tell whether ``permission`` is granted in this world."""
        return any(permission in self.by_world.get(world, ()) for world in (world_id, ANY_WORLD))

    def knows_strategy(self, strategy_id: str) -> bool:
        """Tell whether the actor may learn of this strategy at all."""
        return self.strategies is None or strategy_id in self.strategies


@dataclass(frozen=True, slots=True)
class Act:
    """One act of a person, a token, the schedule or the circuit.

    ``actor`` is ``person:<name>``, ``token:<id>``, ``schedule``, ``circuit`` or ``system``. ``person`` is the verified
    e-mail that makes two accounts of one human one person; empty for machines. ``now`` is the time of the call (aware
    UTC). ``request_id`` ties the audit rows of one request together.
    """

    actor: str
    reason: str
    now: datetime
    request_id: str = ""
    person: str = ""
    grants: Grants = field(default_factory=Grants)

    def require(self, permission: str, world_id: str, *, strategy_id: str | None = None) -> None:
        """Return if the act is allowed.

        Raises:
            WorldNotFoundError: the actor may not even know of the world.
            StrategyNotFoundError: the actor's token does not cover the strategy.
            PermissionDeniedError: the actor may read the world, but not do this.
        """
        if strategy_id is not None and not self.grants.knows_strategy(strategy_id):
            raise StrategyNotFoundError(world_id, strategy_id)
        if self.grants.allows(permission, world_id):
            return
        if permission != READ and self.grants.allows(READ, world_id):
            raise PermissionDeniedError(self.actor, permission=permission)
        raise WorldNotFoundError(world_id)
