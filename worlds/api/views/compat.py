"""Routes of worlds as QMTL's clients know them; everybody else is answered as ever."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from qmtl_worlds.contracts.errors import AlreadyExistsError, InputInvalidError
from qmtl_worlds.contracts.ids import check_world_id
from qmtl_worlds.policy.describe import describe
from qmtl_worlds.policy.dialect import source_of
from qmtl_worlds.policy.faults import invalid
from qmtl_worlds.policy.yaml_tree import read_yaml
from worlds.api.authentication import act_of, speaks_qmtl
from worlds.api.bodies import JSON, JSON_LIMIT, content_type_of, convert, decode_json, read_bytes
from worlds.api.endpoint import Endpoint, reader_of, visible_worlds
from worlds.api.shapes.worlds import WorldCreate, WorldEdit
from worlds.api.views.policies import YAML, PoliciesView
from worlds.api.views.worlds import WorldDescriptionView, WorldsView, WorldView
from worlds.api.waiting import STARTED
from worlds.models import PolicyVersion, World
from worlds.selectors import WorldFilter, get_world, list_policies, list_worlds
from worlds.services.compat import NOTICE, QMTL, RESERVED
from worlds.services.registry import NewWorld, create_world, update_world, world_etag
from worlds.services.run_rows import compiled

MOST_WORLDS = 1_000
_FIELDS = ("id", "name", "description", "owner", "labels", "mode", "compat", "state")
_THEIRS = ("created_at", "updated_at", "world", "notice", "etag")
"""What a client sends back to us because it once read it; it is ours to say."""


class QmtlEndpoint(Endpoint):
    """A route with answers of their own, ``qmtl_get`` and so on, for QMTL's clients."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Note when the answer was begun: these clients do not wait long for its end."""
        request.META[STARTED] = time.monotonic()
        return super().dispatch(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Choose who answers, once the caller is known."""
        super().initial(request, *args, **kwargs)
        verb = str(request.method).lower()
        theirs = getattr(self, f"qmtl_{verb}", None)
        if theirs is not None and speaks_qmtl(request):
            setattr(self, verb, theirs)


class QmtlWorldsView(QmtlEndpoint, WorldsView):
    """All worlds, as a bare list; new ones are worlds for QMTL's clients."""

    def qmtl_get(self, request: Request) -> Response:
        """List the worlds that are in use."""
        wanted = WorldFilter(visible_worlds(act_of(request)))
        found = list_worlds(wanted=wanted, after="", limit=MOST_WORLDS)
        return Response([flat_world(world) for world in found if world.state != World.State.DELETED])

    def qmtl_post(self, request: Request) -> Response:
        """Create a world, from JSON or from YAML ``{world: {...}}``; the same again is the same world."""
        members = _members(request)
        known = {field.encode_name for field in msgspec.structs.fields(WorldCreate)}
        body = convert({name: value for name, value in members.items() if name in known}, WorldCreate)
        metadata = {name: value for name, value in members.items() if name not in {*known, *_THEIRS}}
        new = NewWorld(
            id=body.id,
            name=body.name,
            description=body.description,
            owner=body.owner,
            labels=tuple(body.labels),
            mode=body.mode,
            compat=QMTL,
            allow_live_wish=body.allow_live,
            lease_ms=body.lease_ms,
            metadata=metadata,
        )
        try:
            world, status = create_world(new=new, act=act_of(request)), 201
        except AlreadyExistsError:
            world, status = get_world(new.id), 200
            if not _is_same(world, new, act_of(request).actor):
                raise
        return Response(_answer(world), status=status, headers={"ETag": f'"{world_etag(world)}"'})


class QmtlWorldView(QmtlEndpoint, WorldView):
    """One world, flat, and once more under ``world``."""

    def qmtl_get(self, request: Request, world_id: str) -> Response:
        """Read a world with every key that its clients gave it."""
        reader_of(request, world_id)
        world = get_world(world_id)
        return Response(_answer(world), headers={"ETag": f'"{world_etag(world)}"'})

    def qmtl_put(self, request: Request, world_id: str) -> Response:
        """Change the named members; what is left out or null stays."""
        members = _members(request)
        if members.pop("id", world_id) != world_id:
            raise InputInvalidError(field="id", reason="cannot be changed")
        known = {field.encode_name for field in msgspec.structs.fields(WorldEdit)}
        body = convert({name: value for name, value in members.items() if name in known}, WorldEdit)
        named = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not msgspec.UNSET}
        ours = {*known, *_THEIRS, "mode", "compat", "allow_live"}
        metadata = {name: value for name, value in members.items() if name not in ours}
        changes = {**named, "metadata": metadata} if metadata else named
        tag = request.headers.get("If-Match")
        if_match = None if tag in {None, "*"} else str(tag).strip().strip('"')
        act = act_of(request)
        world = update_world(world_id=check_world_id(world_id), changes=changes, act=act, if_match=if_match)
        return Response(_answer(world), headers={"ETag": f'"{world_etag(world)}"'})


class QmtlDescriptionView(QmtlEndpoint, WorldDescriptionView):
    """A world with the policy in force, in words and as it was sent."""

    def qmtl_get(self, request: Request, world_id: str) -> Response:
        """Read a world with its policy; the notice says what its clients do not do."""
        reader_of(request, world_id)
        world = get_world(world_id)
        return Response({**_answer(world), **_policy_facts(world.policy)})


class QmtlPoliciesView(QmtlEndpoint, PoliciesView):
    """The versions of a policy, as a bare list."""

    def qmtl_get(self, request: Request, world_id: str) -> Response:
        """List all versions, oldest first."""
        reader_of(request, world_id)
        get_world(world_id)
        return Response([{"version": policy.version} for policy in reversed(list_policies(world_id))])


def flat_world(world: World) -> dict[str, Any]:
    """Return a world as QMTL's clients read it, with every key that they gave it."""
    theirs = {name: value for name, value in world.metadata.items() if name != RESERVED}
    return {
        "circuit_breaker": False,
        **theirs,
        **{name: getattr(world, name) for name in _FIELDS},
        "allow_live": world.allow_live_wish,
        "default_policy_version": world.policy.version if world.policy else None,
        "created_at": world.created_at,
        "updated_at": world.changed_at,
        "notice": NOTICE if world.compat == QMTL else None,
    }


def _answer(world: World) -> dict[str, Any]:
    flat = flat_world(world)
    return {**flat, "world": flat}


def _policy_facts(policy: PolicyVersion | None) -> dict[str, Any]:
    sent = source_of(policy.text) or {} if policy else {}
    return {
        "default_policy_version": policy.version if policy else 0,
        "policy": sent or (msgspec.json.decode(policy.canonical) if policy else None),
        "policy_preset": sent.get("preset"),
        "policy_preset_mode": sent.get("preset_mode"),
        "policy_preset_version": sent.get("preset_version"),
        "policy_overrides": sent.get("preset_overrides"),
        "policy_human": describe(compiled(policy)) if policy else "no policy",
    }


def _members(request: Request) -> dict[str, Any]:
    """Return what the body names, null being the same as nothing."""
    data = read_bytes(request, limit=JSON_LIMIT, content_types=(JSON, *YAML))
    if content_type_of(request) in YAML:
        tree = read_yaml(data)
        if tree.faults:
            raise invalid(tree.faults, tree)
        body = tree.value
    else:
        body = decode_json(data, dict[str, Any])
    if isinstance(body, dict) and isinstance(body.get("world"), dict) and "id" not in body:
        body = body["world"]
    if not isinstance(body, dict):
        raise InputInvalidError(field="body", reason="must be an object, or hold one under world")
    return {name: value for name, value in body.items() if value is not None}


def _is_same(world: World, new: NewWorld, actor: str) -> bool:
    """Tell whether a repeated request made this world."""
    told = (new.name, new.description, new.owner, list(new.labels), new.compat, dict(new.metadata))
    kept = {name: value for name, value in world.metadata.items() if name != RESERVED}
    return world.created_by == actor and told == (
        *(world.name, world.description, world.owner, world.labels, world.compat),
        kept,
    )
