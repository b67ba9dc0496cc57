"""One strategy in one world: what it may do now and why, what lies over it, and how to stop it."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from qmtl_worlds.contracts.activation import ActivationReason, GateLevel
from qmtl_worlds.lifecycle.holds import HoldKind
from strategies import admin as register
from strategies.models import StrategyInstance
from worlds.admin.access import grants_of
from worlds.admin.acting import ActingAdmin, Page, Status
from worlds.admin.badges import badge, badge_html, code_html
from worlds.admin.instance_buttons import INSTANCE_BUTTONS
from worlds.admin.reopening_words import reopening_needs, what_is_asked
from worlds.admin.scoped import json_html, page_address, world_link
from worlds.admin.words import ABSENT, GATE_REASONS, WHAT_PASSES, ago, moment, share, span
from worlds.admin.world_holds import holds_view
from worlds.admin.world_layers import overrides_view
from worlds.models import Reopening
from worlds.selectors import find_override, get_world, holds_of, members_of, position_of
from worlds.services.activation import activation_of
from worlds.stores.clock import database_now, world_now

HEADING: Final = frozenset({"unbind", "override", "kill"})
"""The buttons at the top; the others stand beside what they change."""


class InstancePage(ActingAdmin, register.StrategyInstanceAdmin):
    """Strategies of the readable worlds."""

    buttons = INSTANCE_BUTTONS

    def get_list_display(self, _request: HttpRequest) -> tuple[str, ...]:
        """Show ids as ids, and whether the data are fresh."""
        return "name_shown", "side", "world_shown", "sector", "wanted", "data_shown", "data_end", "withdrawn_at"

    @admin.display(description="strategy", ordering="strategy_id")
    def name_shown(self, instance: StrategyInstance) -> SafeString:
        """Show the strategy id."""
        return code_html(instance.strategy_id)

    @admin.display(description="world", ordering="world_id")
    def world_shown(self, instance: StrategyInstance) -> SafeString:
        """Lead to the world."""
        return world_link(instance.world_id)

    @admin.display(description="data", ordering="fresh_until")
    def data_shown(self, instance: StrategyInstance) -> SafeString:
        """Show whether the data are fresh, by the world's clock."""
        at = world_now(instance.world, now=self._now)
        return badge_html(_data_word(instance, fresh=instance.fresh_until is not None and instance.fresh_until >= at))

    def get_queryset(self, request: HttpRequest) -> QuerySet[StrategyInstance]:
        """Take the database's time once a request."""
        self._now = database_now()
        return super().get_queryset(request)

    def page_of(self, request: HttpRequest, row: Any) -> Page:
        """Show what the instance may do now, or that it has left the world."""
        context = {"title": str(row), "instance": row, **_facts(row)}
        if row.withdrawn_at is None:
            context |= self._present(request, row)
        return Page("admin/worlds/instance.html", context)

    def status_of(self, row: Any) -> Status:
        """Change with every visible change of the world, and with what was asked for this instance."""
        asked = Reopening.objects.filter(world_id=row.world_id, scope=str(row)).order_by("-pk")
        newest = asked.values_list("pk", "state").first()
        return Status(f"{position_of(get_world(row.world_id)).text}:{newest}", busy=False)

    def _present(self, request: HttpRequest, row: StrategyInstance) -> dict[str, Any]:
        world, now, scope = get_world(row.world_id), database_now(), row.key.text
        grants, offered = grants_of(request), self.offered(request, row)
        answered = activation_of(world_id=world.id, key=row.key).envelope
        member, override = members_of(world.id, world.generation).get(row.key), find_override(world.id, scope)
        layers, holds = [override] if override else [], holds_of(world.id, scope=scope)
        asked = Reopening.objects.filter(world=world, scope=scope, state=Reopening.State.REQUESTED)
        return {
            "now": {
                "badge": badge(answered.gate.value),
                "reason": GATE_REASONS[ActivationReason(answered.reason)],
                "passes": _PASSES[answered.gate],
                "weight": share(answered.weight),
                "applied": share(member.weight) if member else "",
                "since": ago(member.promoted_at, now=world_now(world, now=now)) if member else "",
            },
            "waits_flat": any(hold.kind == HoldKind.AWAITING_FLAT and hold.scope for hold in holds),
            "holds": holds_view(world, holds, overrides=layers, grants=grants, now=now),
            "overrides": overrides_view(layers, holds, grants=grants, now=now),
            "waiting": [(what_is_asked(one), reopening_needs(one), page_address(one)) for one in asked],
            "buttons": [link for link in offered if link.name in HEADING],
            "beside": [link for link in offered if link.name == "let-exits-through"],
        }


_PASSES: Final = {**WHAT_PASSES, GateLevel.OPEN: "Its orders pass, scaled to its weight."}


def _facts(row: StrategyInstance) -> dict[str, Any]:
    fresh = row.fresh_until is not None and row.fresh_until >= world_now(row.world, now=database_now())
    return {
        "data": badge(_data_word(row, fresh=fresh)),
        "bar_length": span(row.interval_seconds),
        "data_end": moment(row.data_end),
        "fresh_until": moment(row.fresh_until),
        "tags": ", ".join(row.tags) or ABSENT,
        "params": json_html(row.params) if row.params else ABSENT,
    }


def _data_word(row: StrategyInstance, *, fresh: bool) -> str:
    if row.fresh_until is None:
        return "no data"
    return "fresh" if fresh else "stale"
