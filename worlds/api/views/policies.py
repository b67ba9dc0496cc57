"""Routes of policies: store, read, compare, and put in force."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from qmtl_worlds.contracts.errors import ApprovalNeedsSessionError, InputInvalidError
from qmtl_worlds.contracts.ids import check_world_id
from qmtl_worlds.contracts.limit_errors import BodyTooLargeError
from qmtl_worlds.policy.compiler import compile_policy
from qmtl_worlds.policy.dialect import is_dialect
from qmtl_worlds.policy.diff import diff
from qmtl_worlds.policy.lint import lint
from qmtl_worlds.policy.places import SourceTree
from qmtl_worlds.policy.text_checks import MAX_BYTES, read_text
from qmtl_worlds.policy.yaml_tree import read_yaml
from worlds.api.authentication import act_of, is_machine
from worlds.api.bodies import JSON, JSON_LIMIT, content_type_of, decode_json, read_bytes, read_json
from worlds.api.endpoint import ApprovalEndpoint, Endpoint, reader_of
from worlds.api.openapi import Operation, documented
from worlds.api.queries import read_number, read_query
from worlds.api.shapes.policies import (
    ChangeShape,
    DiffQuery,
    DiffShape,
    LintAnswer,
    LintShape,
    PolicyBody,
    PolicyChangeShape,
    PolicyList,
    PolicyShape,
    PolicyStored,
    PolicySummary,
    SetDefaultBody,
    SetDefaultQuery,
)
from worlds.api.shapes.worlds import ReasonBody
from worlds.models import PolicyChange
from worlds.selectors import get_policy, get_world, list_policies
from worlds.services.compat_policies import store_translated, translated_text
from worlds.services.policies import approve_policy, reject_policy, request_policy, store_policy
from worlds.services.reauthentication import reauthenticated_at
from worlds.services.run_rows import compiled

YAML = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")
MAX_VERSION = 2**31 - 1


@dataclass(frozen=True, slots=True)
class _Sent:
    """A policy as it came."""

    text: str
    reason: str = ""

    def in_dialect(self) -> SourceTree | None:
        """Return the policy read, where it is written in QMTL's dialect."""
        tree = read_yaml(self.text)
        return tree if is_dialect(tree.value) else None


class PoliciesView(Endpoint):
    """The versions of a world's policy."""

    @documented(Operation("listPolicies", "policies", "List policy versions", {200: PolicyList}))
    def get(self, request: Request, world_id: str) -> Response:
        """List all versions, newest first."""
        reader_of(request, world_id)
        world = get_world(world_id)
        versions = [
            PolicySummary(
                version=policy.version,
                checksum=policy.checksum,
                in_force=policy.pk == world.policy_id,
                author=policy.author,
                created_at=policy.created_at,
            )
            for policy in list_policies(world_id)
        ]
        in_force = world.policy.version if world.policy else None
        return Response(PolicyList(world_id=world_id, in_force=in_force, policies=versions))

    @documented(
        Operation(
            "storePolicy",
            "policies",
            "Store a policy version",
            {200: PolicyStored},
            body=PolicyBody,
            body_types=YAML[:1],
            problems=(409,),
        )
    )
    def post(self, request: Request, world_id: str) -> Response:
        """Store a version as a draft; a text with faults is refused with all of them."""
        check_world_id(world_id)
        sent = _sent(request)
        act = act_of(request, reason=sent.reason)
        if (tree := sent.in_dialect()) is not None:
            policy = store_translated(world_id=world_id, tree=tree, act=act)
        else:
            policy = store_policy(world_id=world_id, text=sent.text, act=act)
        warnings = [LintShape(**warning) for warning in policy.lint]
        stored = PolicyStored(world_id=world_id, version=policy.version, checksum=policy.checksum, lint=warnings)
        return Response(stored, headers={"Location": f"/worlds/{world_id}/policies/{policy.version}"})


class PolicyView(Endpoint):
    """One version."""

    @documented(
        Operation(
            "getPolicy",
            "policies",
            "Read a policy version",
            {200: PolicyShape},
            answer_types=YAML[:1],
            headers={"Accept": "`application/yaml` for the author's text alone"},
        )
    )
    def get(self, request: Request, world_id: str, version: str) -> HttpResponseBase:
        """Read a version, as JSON or as its author's YAML."""
        reader_of(request, world_id)
        policy = get_policy(world_id, read_number(version, field="version", least=1, most=MAX_VERSION))
        if any(kind in request.headers.get("Accept", "") for kind in YAML):
            return HttpResponse(policy.text, content_type=f"{YAML[0]}; charset=utf-8")
        shape = PolicyShape(
            version=policy.version,
            checksum=policy.checksum,
            in_force=get_world(world_id).policy_id == policy.pk,
            author=policy.author,
            created_at=policy.created_at,
            yaml=policy.text,
            policy=json.loads(policy.canonical),
            lint=[LintShape(**warning) for warning in policy.lint],
        )
        return Response(shape)


class PolicyLintView(Endpoint):
    """A check without storing."""

    @documented(
        Operation("lintPolicy", "policies", "Check a policy", {200: LintAnswer}, body=PolicyBody, body_types=YAML[:1]),
    )
    def post(self, request: Request, world_id: str) -> Response:
        """Check a text for faults and return its warnings; nothing is stored."""
        reader_of(request, world_id)
        sent = _sent(request)
        tree = sent.in_dialect()
        text = sent.text if tree is None else translated_text(tree, world_id=world_id, version=1)
        policy = compile_policy(text, world_id=world_id)
        warnings = [LintShape(**asdict(warning)) for warning in lint(policy)]
        return Response(LintAnswer(version=policy.document.version, checksum=policy.checksum, lint=warnings))


class PolicyDiffView(Endpoint):
    """What changes between two versions."""

    @documented(
        Operation("diffPolicies", "policies", "Compare two policy versions", {200: DiffShape}, query=DiffQuery),
    )
    def get(self, request: Request, world_id: str) -> Response:
        """Compare two versions, defaults filled in."""
        reader_of(request, world_id)
        query = read_query(request, DiffQuery)
        old, new = (compiled(get_policy(world_id, version)) for version in (query.old, query.new))
        changes = [ChangeShape(**asdict(change)) for change in diff(old, new)]
        return Response(DiffShape(old=query.old, new=query.new, changes=changes))


class SetDefaultView(Endpoint):
    """The request to put a version in force."""

    @documented(
        Operation(
            "requestPolicy",
            "policies",
            "Ask for a version to be put in force",
            {200: PolicyChangeShape},
            body=SetDefaultBody,
            query=SetDefaultQuery,
            problems=(409,),
        )
    )
    def post(self, request: Request, world_id: str) -> Response:
        """Ask for a version; a second person decides. An older open request is superseded."""
        check_world_id(world_id)
        body, query = read_json(request, SetDefaultBody), read_query(request, SetDefaultQuery)
        version = body.version if body.version is not None else query.v
        if version is None:
            raise InputInvalidError(field="version", reason="is required")
        change = request_policy(world_id=world_id, version=version, act=act_of(request, reason=body.reason))
        return Response(_change(change))


class PolicyDecisionView(ApprovalEndpoint):
    """A person's decision on such a request."""

    @documented(
        Operation(
            "{last}PolicyChange",
            "policies",
            "Approve or reject a request",
            {200: PolicyChangeShape},
            body=ReasonBody,
            problems=(409,),
            by_session=True,
        )
    )
    def post(self, request: Request, world_id: str, change_id: str, verb: str) -> Response:
        """Approve (with a session only) or reject the request to put a version in force."""
        number = read_number(change_id, field="change_id", least=1)
        reader_of(request, world_id)
        act = act_of(request, reason=read_json(request, ReasonBody).reason)
        if verb == "approve":
            if is_machine(request):
                raise ApprovalNeedsSessionError
            at = reauthenticated_at(request.session)
            return Response(
                _change(approve_policy(world_id=world_id, change_id=number, reauthenticated_at=at, act=act))
            )
        return Response(_change(reject_policy(world_id=world_id, change_id=number, act=act)))


def _sent(request: Request) -> _Sent:
    """Return the policy of a request, whichever way it came, and the reason given with it."""
    if content_type_of(request) in YAML:
        return _Sent(read_text(read_bytes(request, limit=MAX_BYTES, content_types=YAML)))
    body = decode_json(read_bytes(request, limit=JSON_LIMIT, content_types=(JSON, *YAML)), PolicyBody)
    if sum(one is not None for one in (body.policy, body.yaml, body.preset)) != 1:
        raise InputInvalidError(field="policy", reason="or yaml or preset must be given, and one of them only")
    if body.yaml is not None:
        return _Sent(body.yaml, body.reason)
    text = msgspec.json.encode(body.policy if body.preset is None else _preset(body))
    if len(text) > MAX_BYTES:
        raise BodyTooLargeError(limit=MAX_BYTES)
    return _Sent(text.decode(), body.reason)


def _preset(body: PolicyBody) -> dict[str, Any]:
    members = {
        "preset": body.preset,
        "preset_mode": body.preset_mode,
        "preset_version": body.preset_version,
        "preset_overrides": body.preset_overrides if body.overrides is None else body.overrides,
    }
    return {name: value for name, value in members.items() if value is not None}


def _change(change: PolicyChange) -> PolicyChangeShape:
    return PolicyChangeShape(
        id=change.pk,
        world_id=change.world_id,
        version=change.policy.version,
        state=change.state,
        requested_by=change.requested_by,
        requested_at=change.requested_at,
        decided_by=change.decided_by,
        decided_at=change.decided_at,
    )
