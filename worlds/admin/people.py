"""Roles and tokens: who may do what."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString

from qmtl_worlds.contracts.acts import ANY_WORLD
from worlds.admin.access import worlds_where
from worlds.admin.acting import ActingAdmin, Button, Done, Submission
from worlds.admin.badges import badge_html, code_html
from worlds.admin.forms import RoleForm, TokenForm
from worlds.admin.scoped import page_address, world_link
from worlds.models import ApiToken, Membership
from worlds.services.members import grant_role, revoke_role
from worlds.services.tokens import TokenTerms, create_token, revoke_token
from worlds.stores.clock import database_now


def _grant(sent: Submission) -> Done:
    values = sent.values
    membership = grant_role(user=values["user"], role=values["role"], world=values["world"], act=sent.act)
    return Done(f"Granted: {membership.user} is {membership.role}.", _list_of("membership"))


def _revoke(sent: Submission) -> Done:
    revoke_role(membership=sent.target, act=sent.act)
    return Done("The role is taken away.", _list_of("membership"))


def _create(sent: Submission) -> HttpResponse:
    """Show the secret, once: it is stored nowhere, so it is in this answer or lost."""
    values = sent.values
    made = create_token(
        role=values["role"],
        name=values["name"],
        act=sent.act,
        worlds=[world.id for world in values["worlds"]],
        strategies=values["strategies"].split(),
        terms=TokenTerms(sent.act.now + timedelta(days=values["days"]), values["provenance"]),
    )
    context = {
        **admin.site.each_context(sent.request),
        "title": f"Token {made.token.name}",
        "opts": ApiToken._meta,  # noqa: SLF001 - Django's documented way to a model's names
        "token": made.token,
        "text": made.text,
        "address": page_address(made.token),
    }
    return TemplateResponse(sent.request, "admin/worlds/token.html", context)


def _revoke_token(sent: Submission) -> Done:
    token = revoke_token(token_id=sent.target.pk, act=sent.act)
    return Done("Revoked: the next request with it is refused.", page_address(token))


def _list_of(model: str) -> str:
    return reverse(f"admin:worlds_{model}_changelist")


@admin.register(Membership)
class MembershipAdmin(ActingAdmin):
    """One row a person, role and world."""

    permission = "members.manage"
    add_button = Button(
        name="add",
        label="Grant a role",
        permission="members.manage",
        afterwards=lambda _none: "What trades stays as it is; the person may act from the next click on.",
        perform=_grant,
        form=RoleForm,
        tone="primary",
    )
    buttons = (
        Button(
            name="revoke",
            label="Take the role away",
            permission="members.manage",
            afterwards=lambda _role: "What trades stays as it is. Approvals that rest on the role count no more.",
            perform=_revoke,
            tone="danger",
        ),
    )
    list_display = ("user", "role", "where")
    list_filter = ("role",)
    list_select_related = ("user", "world")
    search_fields = ("user__username", "user__email", "world__id")

    def world_of(self, row: Any) -> str:
        """Return the world, or the sign for every world."""
        return row.world_id or ANY_WORLD

    @admin.display(description="world", ordering="world_id")
    def where(self, membership: Membership) -> SafeString | str:
        """Lead to the world."""
        return world_link(membership.world_id) if membership.world_id else "everywhere"


@admin.register(ApiToken)
class ApiTokenAdmin(ActingAdmin):
    """One row a token; its secret is shown once, when it is made."""

    permission = "tokens.manage"
    by_world = False
    add_button = Button(
        name="add",
        label="Make a token",
        permission="tokens.manage",
        afterwards=lambda _none: "What trades stays as it is. The secret is shown once, on the next page.",
        perform=_create,
        form=TokenForm,
        tone="primary",
    )
    buttons = (
        Button(
            name="revoke",
            label="Revoke",
            permission="tokens.manage",
            afterwards=lambda _token: (
                "A Runner with this token gets no permission any more: within one lease it only closes positions."
            ),
            perform=_revoke_token,
            tone="danger",
            shown=lambda token: token.revoked_at is None,
        ),
    )
    list_display = ("name", "key_shown", "role", "state_shown", "created_by", "expires_at", "last_used_at")
    list_filter = ("role", ("revoked_at", admin.EmptyFieldListFilter))
    search_fields = ("id", "name", "created_by")
    date_hierarchy = "created_at"
    fields = (
        ("name", "role", "id"),
        ("worlds", "strategies", "provenance"),
        ("created_by", "created_at"),
        ("expires_at", "revoked_at", "last_used_at"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        """Show tokens to whoever manages those of every world; a token may cover any."""
        rows = admin.ModelAdmin.get_queryset(self, request)
        return rows if worlds_where(request, self.permission) is None else rows.none()

    def world_of(self, _row: Any) -> str:
        """Tokens are managed for all worlds at once."""
        return ANY_WORLD

    @admin.display(description="key id", ordering="id")
    def key_shown(self, token: ApiToken) -> SafeString:
        """Show the public part."""
        return code_html(token.id)

    @admin.display(description="state")
    def state_shown(self, token: ApiToken) -> SafeString:
        """Show whether it may be used."""
        if token.revoked_at is not None:
            return badge_html("revoked")
        return badge_html("live token" if token.is_live(database_now()) else "expired")
