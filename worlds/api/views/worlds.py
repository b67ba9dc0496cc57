"""Routes of worlds themselves."""

from __future__ import annotations

import msgspec
from rest_framework.request import Request
from rest_framework.response import Response

from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.contracts.ids import check_world_id
from qmtl_worlds.policy.describe import describe
from worlds.api.authentication import act_of
from worlds.api.bodies import read_open_object
from worlds.api.endpoint import Endpoint, reader_of, visible_worlds
from worlds.api.openapi import Operation, documented
from worlds.api.queries import read_query
from worlds.api.shapes.closing import ClosingShape
from worlds.api.shapes.pins import PinShape
from worlds.api.shapes.worlds import (
    PolicyInForce,
    WorldCreate,
    WorldDescription,
    WorldDetail,
    WorldEdit,
    WorldPage,
    WorldQuery,
    WorldShape,
)
from worlds.models import World
from worlds.selectors import WorldFilter, find_pin, get_world, list_worlds, op_states_of
from worlds.services.closings import closing_of
from worlds.services.compat import notice_of
from worlds.services.registry import NewWorld, archive_world, create_world, update_world, world_etag
from worlds.services.run_rows import compiled

IF_MATCH = {"If-Match": "the `etag` of the world that the caller has seen"}


class WorldsView(Endpoint):
    """All worlds that the caller may see."""

    @documented(
        Operation("listWorlds", "worlds", "List worlds", {200: WorldPage}, query=WorldQuery),
    )
    def get(self, request: Request) -> Response:
        """List worlds by id."""
        query = read_query(request, WorldQuery)
        ids = visible_worlds(act_of(request))
        wanted = WorldFilter(ids, query.owner, query.state or "")
        found = list_worlds(wanted=wanted, after=query.cursor, limit=query.limit + 1)
        page = found[: query.limit]
        cursor = page[-1].id if len(found) > query.limit else ""
        return Response(WorldPage(worlds=_shapes(page), next_cursor=cursor))

    @documented(
        Operation("createWorld", "worlds", "Create a world", {201: WorldShape}, body=WorldCreate, problems=(409,)),
    )
    def post(self, request: Request) -> Response:
        """Create a world in which nothing is active and no gate is open."""
        body, metadata = read_open_object(request, WorldCreate)
        new = NewWorld(
            id=body.id,
            name=body.name,
            description=body.description,
            owner=body.owner,
            labels=tuple(body.labels),
            mode=body.mode,
            compat=body.compat,
            allow_live_wish=body.allow_live,
            lease_ms=body.lease_ms,
            metadata=metadata,
        )
        world = create_world(new=new, act=act_of(request))
        return _answer(world, status=201, headers={"Location": f"/worlds/{world.id}"})


class WorldView(Endpoint):
    """One world."""

    @documented(Operation("getWorld", "worlds", "Read a world", {200: WorldDetail}))
    def get(self, request: Request, world_id: str) -> Response:
        """Read a world as it is now, with how far its gate is open and whether that is in effect everywhere."""
        reader_of(request, world_id)
        detail = _detail(get_world(world_id))
        return Response(detail, headers={"ETag": f'"{detail.etag}"'})

    @documented(
        Operation(
            "replaceWorld",
            "worlds",
            "Change a world",
            {200: WorldShape},
            body=WorldEdit,
            headers=IF_MATCH,
            problems=(409, 412),
        )
    )
    def put(self, request: Request, world_id: str) -> Response:
        """Change the named members; what the body leaves out stays."""
        return _edit(request, world_id)

    @documented(
        Operation(
            "updateWorld",
            "worlds",
            "Change a world",
            {200: WorldShape},
            body=WorldEdit,
            headers=IF_MATCH,
            problems=(409, 412),
        )
    )
    def patch(self, request: Request, world_id: str) -> Response:
        """Change the named members; what the body leaves out stays."""
        return _edit(request, world_id)

    @documented(Operation("archiveWorld", "worlds", "Archive a world", {200: WorldShape}, problems=(409,)))
    def delete(self, request: Request, world_id: str) -> Response:
        """Archive a world in which nothing is active; its audit stays."""
        return _answer(archive_world(world_id=check_world_id(world_id), act=act_of(request)))


class WorldDescriptionView(Endpoint):
    """A world in words."""

    @documented(
        Operation("describeWorld", "worlds", "Read a world and its policy in words", {200: WorldDescription}),
    )
    def get(self, request: Request, world_id: str) -> Response:
        """Read a world with the policy in force, as text and in words."""
        reader_of(request, world_id)
        world = get_world(world_id)
        policy = None
        if world.policy is not None:
            policy = PolicyInForce(
                version=world.policy.version,
                checksum=world.policy.checksum,
                yaml=world.policy.text,
                text=notice_of(world) + describe(compiled(world.policy)),
            )
        return Response(WorldDescription(world=_detail(world), policy=policy))


def _edit(request: Request, world_id: str) -> Response:
    body, metadata = read_open_object(request, WorldEdit)
    if body.id not in {msgspec.UNSET, world_id}:
        raise InputInvalidError(field="id", reason="cannot be changed")
    named = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not msgspec.UNSET}
    changes = {name: value for name, value in named.items() if name != "id"}
    if metadata:
        changes["metadata"] = metadata
    tag = request.headers.get("If-Match")
    if_match = None if tag in {None, "*"} else str(tag).strip().strip('"')
    world = update_world(world_id=check_world_id(world_id), changes=changes, act=act_of(request), if_match=if_match)
    return _answer(world)


def _answer(world: World, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    shape = _shapes((world,))[0]
    return Response(shape, status=status, headers={"ETag": f'"{shape.etag}"', **(headers or {})})


def _detail(world: World) -> WorldDetail:
    closing = closing_of(world_id=world.id)
    gate = ClosingShape(
        level=closing.level,
        reason=closing.reason.value,
        committed_at=closing.committed_at,
        effective_at=closing.effective_at,
        effective=closing.effective,
        acknowledged=closing.acknowledged,
    )
    return WorldDetail(**msgspec.structs.asdict(_shapes((world,))[0]), gate=gate, pin=_pin(world))


def _pin(world: World) -> PinShape | None:
    pin = find_pin(world.id)
    if pin is None:
        return None
    return PinShape(
        generation=pin.generation,
        policy_version=pin.policy_version,
        reason=pin.reason,
        pinned_by=pin.pinned_by,
        pinned_at=pin.pinned_at,
        expires_at=pin.expires_at,
    )


def _shapes(worlds: tuple[World, ...]) -> list[WorldShape]:
    states = op_states_of(world.id for world in worlds)
    return [
        WorldShape(
            id=world.id,
            name=world.name,
            description=world.description,
            owner=world.owner,
            labels=world.labels,
            mode=world.mode,
            compat=world.compat,
            allow_live=world.allow_live_wish,
            state=world.state,
            op_state=states[world.id],
            paused=world.paused,
            lease_ms=world.lease_ms,
            on_lease_expiry=world.on_lease_expiry,
            circuit_level=world.circuit_level,
            generation=world.generation,
            sequence=world.sequence,
            policy_version=world.policy.version if world.policy else None,
            replay_now=world.replay_now,
            created_by=world.created_by,
            created_at=world.created_at,
            changed_at=world.changed_at,
            etag=world_etag(world),
            metadata=world.metadata,
        )
        for world in worlds
    ]
