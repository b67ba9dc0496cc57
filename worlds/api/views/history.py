"""Routes that read what was: generations and the audit."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from audit.models import AuditEvent
from audit.selectors import EventFilter, list_events
from qmtl_worlds.contracts.errors import PermissionDeniedError
from qmtl_worlds.contracts.ids import check_world_id
from worlds.api.authentication import act_of
from worlds.api.endpoint import Endpoint, reader_of
from worlds.api.openapi import Operation, documented
from worlds.api.queries import plausible_time, read_number, read_query
from worlds.api.shapes.apply import EntryShape, GenerationPage, GenerationShape, GenerationSummary
from worlds.api.shapes.audit import AuditQuery, EventPage, EventShape
from worlds.api.shapes.evaluations import PageQuery
from worlds.selectors import Generation, get_generation, get_world, list_generations, members_of


class GenerationsView(Endpoint):
    """The committed sets of a world."""

    @documented(
        Operation("listGenerations", "generations", "List committed sets", {200: GenerationPage}, query=PageQuery),
    )
    def get(self, request: Request, world_id: str) -> Response:
        """List committed sets, newest first."""
        reader_of(request, world_id)
        get_world(world_id)
        query = read_query(request, PageQuery)
        before = read_number(query.cursor, field="cursor") if query.cursor else None
        found = list_generations(world_id, before=before, limit=query.limit + 1)
        page = found[: query.limit]
        cursor = str(page[-1].number) if len(found) > query.limit else ""
        return Response(GenerationPage(generations=[_summary(one) for one in page], next_cursor=cursor))


class GenerationView(Endpoint):
    """One committed set."""

    @documented(Operation("getGeneration", "generations", "Read a committed set", {200: GenerationShape}))
    def get(self, request: Request, world_id: str, generation: str) -> Response:
        """Read a committed set with its members, by key."""
        act = reader_of(request, world_id)
        number = read_number(generation, field="generation")
        found = get_generation(world_id, number)
        members = members_of(world_id, number)
        entries = [
            EntryShape(
                strategy_id=key.strategy_id,
                side=key.side.value,
                weight=members[key].weight,
                evaluation_run_id=members[key].evaluation_run_id,
                promoted_at=members[key].promoted_at,
            )
            for key in sorted(members)
            if act.grants.knows_strategy(key.strategy_id)
        ]
        return Response(GenerationShape(**_facts(found), world_id=world_id, entries=entries))


class AuditView(Endpoint):
    """The audit of a world."""

    @documented(Operation("listAudit", "audit", "Read the audit", {200: EventPage}, query=AuditQuery))
    def get(self, request: Request, world_id: str) -> Response:
        """List events, newest first, each with its place in the hash chain."""
        act = act_of(request)
        act.require("audit.read", check_world_id(world_id))
        if act.grants.strategies is not None:
            raise PermissionDeniedError(act.actor, permission="audit.read of every strategy")
        get_world(world_id)
        query = read_query(request, AuditQuery)
        wanted = EventFilter(
            kind=query.kind,
            actor=query.actor,
            run_id=query.run_id or "",
            request_id=query.request_id or "",
            since=plausible_time(query.since, field="since"),
        )
        page = list_events(chain=world_id, wanted=wanted, cursor=query.cursor, limit=query.limit)
        return Response(EventPage(events=[_event(one) for one in page.events], next_cursor=page.next_cursor))


def _summary(one: Generation) -> GenerationSummary:
    return GenerationSummary(**_facts(one))


def _facts(one: Generation) -> dict[str, Any]:
    return {
        "generation": one.number,
        "content_hash": one.content_hash,
        "run_id": one.run_id,
        "entry_count": one.entry_count,
        "created_at": one.created_at,
    }


def _event(event: AuditEvent) -> EventShape:
    return EventShape(**{name: getattr(event, name) for name in EventShape.__struct_fields__})
