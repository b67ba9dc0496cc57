"""Ask for a tripped circuit to be reset: at once by a risk person, in a live world by two."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import ConflictError
from worlds.models import Reopening
from worlds.services.changes import locked_world
from worlds.services.circuits import find_circuit
from worlds.services.reopening_requests import RULES, Asked
from worlds.services.reopenings import ask


@transaction.atomic
def request_reset(*, world_id: str, high_water_mark: str, reauthenticated_at: datetime | None, act: Act) -> Reopening:
    """Ask that the present incident be over; ``high_water_mark`` is kept or reset to the present equity.

    It is granted at once to a risk person who has just entered the password, unless the world is live.

    Raises:
        ConflictError: nothing is tripped.
    """
    subject = Reopening.Subject.CIRCUIT
    act.require(RULES[subject].ask, world_id)
    locked_world(world_id)
    state = find_circuit(world_id=world_id)
    if state is None or not state.incident:
        raise ConflictError("The circuit has not tripped: there is nothing to reset.", world_id=world_id)
    asked = Asked(world_id, subject, parameters={"incident": state.incident, "high_water_mark": high_water_mark})
    return ask(asked=asked, reauthenticated_at=reauthenticated_at, act=act)
