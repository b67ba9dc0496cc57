"""What one evaluation over files leaves for the next one: who is in, since when, and the streaks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.decision.outcome import Decision

NO_EVIDENCE = -1

Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


class InstanceState(BaseModel):
    """One instance: ``weight`` is 0 where it is not active; ``since`` is its last promotion or demotion.

    ``evidence`` is the close (epoch seconds) of the session that its streaks counted last, -1 before the first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: Annotated[float, Field(ge=0, le=1)] = 0.0
    since: AwareDatetime | None = None
    in_streak: Count = 0
    out_streak: Count = 0
    evidence: int = NO_EVIDENCE


class WorldState(BaseModel):
    """A world between two evaluations; ``has_applied_set`` once a plan was carried out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    world: str
    as_of: AwareDatetime
    has_applied_set: bool = False
    selection_checksum: str = ""
    instances: Mapping[str, InstanceState] = {}


NOTHING_KNOWN = InstanceState()


def next_state(decision: Decision, *, now: datetime, before: WorldState | None) -> WorldState:
    """Return the state after ``decision``, as if its whole plan had been carried out at ``now``."""
    streaks = decision.streaks
    known = before.instances if before else {}
    rows = zip(
        streaks.keys, streaks.in_streak.tolist(), streaks.out_streak.tolist(), streaks.evidence.tolist(), strict=True
    )
    return WorldState(
        world=decision.world_id,
        as_of=decision.as_of,
        has_applied_set=decision.has_plan or (before is not None and before.has_applied_set),
        selection_checksum=streaks.checksum,
        instances={
            key: InstanceState(
                weight=decision.weights.get(key, 0.0),
                since=_since(decision, key, now=now, before=known.get(key, NOTHING_KNOWN)),
                in_streak=in_streak,
                out_streak=out_streak,
                evidence=evidence,
            )
            for key, in_streak, out_streak, evidence in rows
        },
    )


def read_state(path: Path, *, world_id: str) -> WorldState:
    """Read a saved state of ``world_id``.

    Raises:
        InputInvalidError: it is no state file, or one of another world.
        OSError: the file cannot be read.
    """
    try:
        state = WorldState.model_validate_json(path.read_bytes())
        for key in state.instances:
            InstanceKey.from_text(key)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputInvalidError(field=f"{path.name} {place}".rstrip(), reason=first["msg"]) from error
    if state.world != world_id:
        raise InputInvalidError(field=path.name, reason=f"is the state of world {state.world!r}, not of {world_id!r}")
    return state


def write_state(path: Path, state: WorldState) -> None:
    """Replace the file in one step, so that a reader sees the old state or the new one.

    Raises:
        OSError: the file cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    part.write_text(state.model_dump_json(indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def _since(decision: Decision, key: str, *, now: datetime, before: InstanceState) -> datetime | None:
    is_active, was_active = key in decision.weights, key in decision.before
    return before.since if is_active == was_active else now
