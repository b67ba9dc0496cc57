"""Pages that show the rows of the worlds a person may read, and let nobody write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import BadRequest
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from qmtl_worlds.contracts.acts import READ
from worlds.admin.access import has_anywhere, readable_worlds, worlds_where
from worlds.admin.badges import code_html
from worlds.admin.menu import label_of
from worlds.admin.words import ABSENT


class WorldFilter(admin.SimpleListFilter):
    """Narrows a list to one of the worlds that the person may read; others are not even named."""

    title = "world"
    parameter_name = "world"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> Sequence[tuple[str, str]]:
        """Offer the readable worlds."""
        permission = model_admin.permission if isinstance(model_admin, ScopedAdmin) else READ
        return [(world, world) for world in readable_worlds(request, permission).values_list("id", flat=True)]

    def queryset(self, _request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the rows of the chosen world."""
        chosen = self.value()
        if chosen is None or chosen not in {value for value, _ in self.lookup_choices}:
            return queryset
        page = admin.site.get_model_admin(queryset.model)
        path = page.world_path if isinstance(page, ScopedAdmin) else "world_id"
        return queryset.filter(**{path: chosen})


class ScopedAdmin(admin.ModelAdmin[Any]):
    """Rows of the worlds in which the person has ``permission``; ``world_path`` leads from a row to its world's id.

    ``by_world`` offers a filter by world. Nobody adds, changes or deletes here: what changes rows is a button that
    calls a service.
    """

    world_path: ClassVar[str] = "world_id"
    permission: ClassVar[str] = READ
    by_world: ClassVar[bool] = True
    show_full_result_count = False
    list_per_page = 50
    actions = None
    change_form_template = "admin/worlds/record.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Leave out the worlds that the person may not read."""
        rows, allowed = super().get_queryset(request), worlds_where(request, self.permission)
        return rows if allowed is None else rows.filter(**{f"{self.world_path}__in": allowed})

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        """Offer the readable worlds as a filter, where rows of one world are many."""
        return [*super().get_list_filter(request), *([WorldFilter] if self.by_world else [])]

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Show the application to whoever may read something in it."""
        return has_anywhere(request, self.permission)

    def has_view_permission(self, request: HttpRequest, _obj: Model | None = None) -> bool:
        """Let people with the role look; rows of other worlds are not found at all."""
        return has_anywhere(request, self.permission)

    def has_add_permission(self, _request: HttpRequest) -> bool:
        """Refuse."""
        return False

    def has_change_permission(self, _request: HttpRequest, _obj: Model | None = None) -> bool:
        """Refuse."""
        return False

    def has_delete_permission(self, _request: HttpRequest, _obj: Model | None = None) -> bool:
        """Refuse."""
        return False

    def found(self, request: HttpRequest, object_id: str) -> Any:
        """Return the row that an address names.

        Raises:
            Http404: there is none, or not for this person.
        """
        row = None if "\x00" in object_id else self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        return row

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """List the rows under the name that the menu has for them.

        Raises:
            BadRequest: the question can match nothing in any database.
        """
        if any("\x00" in value for values in request.GET.lists() for value in values[1]):
            raise BadRequest("NUL in a filter")
        try:
            return super().changelist_view(request, {"title": label_of(self.model.__name__), **(extra_context or {})})
        except OverflowError as error:
            raise BadRequest("a number in a filter is out of range") from error

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show one row.

        Raises:
            Http404: there is none, or not for this person.
        """
        self.found(request, object_id)
        return super().change_view(request, object_id, form_url, extra_context)


def page_address(row: Model) -> str:
    """Return the address of a row's page."""
    return reverse(f"admin:{_names(row)}_change", args=[quote(row.pk)])


def act_address(row: Model, name: str) -> str:
    """Return the address of the page of one of a row's buttons."""
    return reverse(f"admin:{_names(row)}_act", args=[quote(row.pk), name])


def status_address(row: Model) -> str:
    """Return where an open page of a row asks whether it is still right."""
    return reverse(f"admin:{_names(row)}_status", args=[quote(row.pk)])


def _names(row: Model) -> str:
    meta = row._meta  # noqa: SLF001 - Django's documented way to a model's names
    return f"{meta.app_label}_{meta.model_name}"


def link(row: Model | None, text: object) -> SafeString:
    """Return a link to a row's page, a dash where there is no row."""
    return format_html('<a href="{}">{}</a>', page_address(row), text) if row is not None else format_html("{}", ABSENT)


def world_address(world_id: str) -> str:
    """Return the address of a world's page."""
    return reverse("admin:worlds_world_change", args=[quote(world_id)])


def world_link(world_id: str) -> SafeString:
    """Return a link to a world's page."""
    return format_html('<a href="{}">{}</a>', world_address(world_id), code_html(world_id))


def json_html(value: object) -> SafeString:
    """Return a JSON value, indented."""
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    return format_html('<pre class="json">{}</pre>', text)
