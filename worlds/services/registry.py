"""The register of worlds: create, change, archive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from django.db import IntegrityError, transaction

from audit.recorder import record
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.digests import digest
from qmtl_worlds.contracts.errors import AlreadyExistsError, EtagMismatchError, InputInvalidError, WorldActiveError
from qmtl_worlds.contracts.ids import check_world_id
from worlds.models import ActivationEntry, StreakState, World
from worlds.models.world import LEASE_MS, LEASE_MS_RANGE
from worlds.services.changes import announce, locked_world

LEVELS: Final = ("on_lease_expiry", "circuit_level")
EDITABLE: Final = ("name", "description", "owner", "labels", "lease_ms", "metadata", *LEVELS)
_TYPES: Final = {
    "name": str,
    "description": str,
    "owner": str,
    "labels": list,
    "lease_ms": int,
    "metadata": Mapping,
    "on_lease_expiry": str,
    "circuit_level": str,
}


@dataclass(frozen=True, slots=True)
class NewWorld:
    """What a caller may say of a world when it is made; the rest follows from acts."""

    id: str
    name: str = ""
    description: str = ""
    owner: str = ""
    labels: tuple[str, ...] = ()
    mode: str = World.Mode.PAPER
    compat: str = ""
    allow_live_wish: bool = False
    lease_ms: int = LEASE_MS
    metadata: Mapping[str, object] = field(default_factory=dict)


def world_etag(world: World) -> str:
    """Return the tag of a world's metadata; changes with every edit."""
    return digest([world.id, world.changed_at.isoformat()])[7:23]


@transaction.atomic
def create_world(*, new: NewWorld, act: Act) -> World:
    """Make a world; nothing is active in it, and no gate is open.

    Raises:
        InputInvalidError: a field is wrong.
        AlreadyExistsError: the id is taken.
    """
    act.require("world.create", check_world_id(new.id))
    _check_choices(new)
    world = World(
        id=new.id,
        name=new.name,
        description=new.description,
        owner=new.owner,
        labels=list(new.labels),
        metadata=dict(new.metadata),
        mode=new.mode,
        compat=new.compat,
        allow_live_wish=new.allow_live_wish,
        lease_ms=new.lease_ms,
        created_by=act.actor,
        created_at=act.now,
        changed_at=act.now,
    )
    _check_lengths(world)
    try:
        with transaction.atomic():
            world.save(force_insert=True)
    except IntegrityError as error:
        raise AlreadyExistsError("World", new.id) from error
    StreakState.objects.create(world=world, updated_at=act.now)
    announce(world, kind="world_created", payload={"mode": world.mode}, now=act.now)
    record(chain=world.id, kind="world.created", act=act, subject=world.id, after=_facts(world))
    return world


@transaction.atomic
def update_world(*, world_id: str, changes: Mapping[str, object], act: Act, if_match: str | None = None) -> World:
    """Change the named fields and keep the others; metadata keys are merged.

    Raises:
        InputInvalidError: a field cannot be changed, or not to that.
        EtagMismatchError: ``if_match`` is not the present tag.
    """
    act.require("world.edit", world_id)
    world = locked_world(world_id)
    if if_match is not None and if_match != world_etag(world):
        raise EtagMismatchError(expected=if_match, current=world_etag(world))
    before = _facts(world)
    for name, value in changes.items():
        if name not in EDITABLE:
            raise InputInvalidError(field=name, reason="cannot be changed after creation")
        _set_field(world, name, value)
    _check_lease(world.lease_ms)
    _check_lengths(world)
    _check_levels(world)
    world.changed_at = act.now
    world.save(update_fields=[*EDITABLE, "changed_at"])
    payload: dict[str, object] = {"fields": sorted(changes)}
    if world.lease_ms != before["lease_ms"]:
        payload["lease_ms_before"] = before["lease_ms"]  # a drain counts it while such permissions may live
    announce(world, kind="world_updated", payload=payload, now=act.now)
    record(chain=world.id, kind="world.updated", act=act, subject=world.id, before=before, after=_facts(world))
    return world


@transaction.atomic
def archive_world(*, world_id: str, act: Act) -> World:
    """Archive a world in which nothing is active; its audit stays.

    Raises:
        WorldActiveError: instances are still active.
    """
    act.require("world.archive", world_id)
    world = locked_world(world_id)
    active = ActivationEntry.objects.filter(set__world=world, set__generation=world.generation).count()
    if active:
        raise WorldActiveError(world_id, active_count=active)
    world.state = World.State.DELETED
    world.changed_at = act.now
    world.save(update_fields=["state", "changed_at"])
    announce(world, kind="world_archived", payload={}, now=act.now)
    record(chain=world.id, kind="world.archived", act=act, subject=world.id)
    return world


def _facts(world: World) -> dict[str, object]:
    return {name: getattr(world, name) for name in (*EDITABLE, "mode", "compat", "state")}


def _set_field(world: World, name: str, value: object) -> None:
    if not isinstance(value, _TYPES[name]) or isinstance(value, bool):
        raise InputInvalidError(field=name, reason="is of the wrong type")
    if name == "metadata" and isinstance(value, Mapping):
        world.metadata = {**world.metadata, **value}
    else:
        setattr(world, name, value)


def _check_choices(new: NewWorld) -> None:
    if new.mode not in World.Mode.values:
        raise InputInvalidError(field="mode", reason=f"must be one of {', '.join(World.Mode.values)}")
    if new.compat not in ("", "qmtl"):
        raise InputInvalidError(field="compat", reason="must be qmtl or absent")
    if new.compat and new.mode != World.Mode.PAPER:
        raise InputInvalidError(field="compat", reason="worlds for QMTL clients are paper worlds")
    _check_lease(new.lease_ms)


def _check_lengths(world: World) -> None:
    """PostgreSQL refuses what is too long or holds a NUL; SQLite would take it."""
    for name, longest in (("name", 200), ("owner", 200), ("description", 10_000)):
        text = getattr(world, name)
        if "\x00" in text or len(text) > longest:
            raise InputInvalidError(field=name, reason=f"must be at most {longest} characters without NUL")


def _check_levels(world: World) -> None:
    for name in LEVELS:
        if getattr(world, name) not in World.Level.values:
            raise InputInvalidError(field=name, reason=f"must be one of {', '.join(World.Level.values)}")


def _check_lease(lease_ms: int) -> None:
    least, most = LEASE_MS_RANGE
    if not least <= lease_ms <= most:
        raise InputInvalidError(field="lease_ms", reason=f"must be between {least} and {most}")
