"""Routes that only QMTL's clients use: how far data reaches, and where to listen."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from rest_framework.request import Request
from rest_framework.response import Response

from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.contracts.ids import check_world_id
from worlds.api.authentication import act_of
from worlds.api.bodies import read_open_object
from worlds.api.endpoint import Endpoint, reader_of, require_strategy
from worlds.api.openapi import Operation, documented
from worlds.api.queries import plausible_time
from worlds.api.shapes.compat import HistoryBody, HistoryPage, SubscribeBody, Subscription
from worlds.models import ApiToken
from worlds.selectors import get_world
from worlds.services.compat_history import HistoryNote, histories_of, note_history
from worlds.services.subscriptions import STREAM_PATH, Ticket, sign

HISTORY_LIMIT = 16_384


class HistoryView(Endpoint):
    """How far the data of QMTL's strategies reaches."""

    @documented(Operation("listHistory", "qmtl", "Read what clients told of their data", {200: HistoryPage}))
    def get(self, request: Request, world_id: str) -> Response:
        """Read the coverages that clients told, oldest first."""
        grants = reader_of(request, world_id).grants
        entries = [one for one in histories_of(get_world(world_id)) if grants.knows_strategy(str(one["strategy_id"]))]
        return Response(HistoryPage(entries=entries, latest=entries[-1] if entries else None))

    @documented(
        Operation("tellHistory", "qmtl", "Tell how far data reaches", {204: None}, body=HistoryBody, problems=(409,)),
    )
    def post(self, request: Request, world_id: str) -> Response:
        """Tell how far a strategy's data reaches; it is fresh until then and as long as the policy says."""
        check_world_id(world_id)
        body, _ = read_open_object(request, HistoryBody, limit=HISTORY_LIMIT)
        note_history(world_id=world_id, note=_note(body), act=act_of(request))
        return Response(None, status=204)


class SubscribeView(Endpoint):
    """Where to listen."""

    @documented(
        Operation("subscribe", "qmtl", "Ask where to listen", {200: Subscription}, body=SubscribeBody),
    )
    def post(self, request: Request) -> Response:
        """Ask for a WebSocket that tells of one strategy, and for the token that opens it, good for five minutes."""
        body, _ = read_open_object(request, SubscribeBody)
        act = reader_of(request, body.world_id)
        get_world(body.world_id)
        if body.strategy_id is None and "activation" in body.topics:
            raise InputInvalidError(field="strategy_id", reason="is required: streams tell of one strategy")
        if body.strategy_id is not None:
            require_strategy(act, body.world_id, body.strategy_id)
        token_id = request.auth.id if isinstance(request.auth, ApiToken) else ""
        ticket = Ticket(token_id, body.world_id, body.strategy_id or "", body.topics)
        signed = sign(ticket, now=act.now)
        base = request.build_absolute_uri("/").rstrip("/")
        answer = Subscription(
            stream_url=f"ws{base.removeprefix('http')}{STREAM_PATH}",
            token=signed.text,
            topics=list(ticket.topics),
            expires_at=signed.expires_at,
            fallback_url=f"{base}/worlds/{body.world_id}/events",
        )
        return Response(answer)


def _note(body: HistoryBody) -> HistoryNote:
    first, last = (None, None) if body.coverage_bounds is None else tuple(map(_at, body.coverage_bounds))
    stated = body.as_of or str((body.artifact or {}).get("as_of") or "")
    members = msgspec.to_builtins(body)
    facts: dict[str, Any] = {name: value for name, value in members.items() if value not in (None, "")}
    if body.artifact and "dataset_fingerprint" not in facts and body.artifact.get("dataset_fingerprint"):
        facts["dataset_fingerprint"] = body.artifact["dataset_fingerprint"]
    return HistoryNote(
        strategy_id=body.strategy_id,
        node_id=body.node_id,
        first=first,
        last=last or (_time(stated) if stated else None),
        interval_seconds=body.interval,
        facts=facts,
    )


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _time(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputInvalidError(field="as_of", reason="must be an ISO-8601 time") from error
    return plausible_time(at if at.tzinfo else at.replace(tzinfo=UTC), field="as_of")
