"""Buttons: each is a page that says what will happen, and calls one service when it is sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import PolicyInvalidError, WorldsError
from worlds.admin.access import act_of, grants_of, has_anywhere
from worlds.admin.forms import ReasonForm
from worlds.admin.menu import label_of
from worlds.admin.policy_faults import shown_faults
from worlds.admin.scoped import ScopedAdmin, act_address, page_address, status_address

ButtonTone = Literal["plain", "primary", "danger", "kill"]


@dataclass(frozen=True, slots=True)
class Submission:
    """A button that was pressed and a form that is in order."""

    request: HttpRequest
    target: Any
    form: ReasonForm
    act: Act

    @property
    def values(self) -> dict[str, Any]:
        """Return what was filled in."""
        return self.form.cleaned_data


@dataclass(frozen=True, slots=True)
class Done:
    """What was done, and where to look at it."""

    message: str
    address: str


@dataclass(frozen=True, slots=True)
class Details:
    """What the page of a button shows besides the form; ``ready`` is false where something must be chosen first."""

    template: str = ""
    context: dict[str, Any] = field(default_factory=dict)
    ready: bool = True


def _no_details(_request: HttpRequest, _target: Any) -> Details:
    return Details()


def _always(_target: Any) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Button:
    """One act on one row.

    ``afterwards`` says what still trades when it is done; ``perform`` calls one service and may answer with a page of
    its own; ``shown`` tells whether the act makes sense for a row; ``reason`` stands in the form already, where
    nobody should have to type before it is done.
    """

    name: str
    label: str
    permission: str
    afterwards: Callable[[Any], str]
    perform: Callable[[Submission], Done | HttpResponse]
    form: type[ReasonForm] = ReasonForm
    tone: ButtonTone = "plain"
    shown: Callable[[Any], bool] = _always
    details: Callable[[HttpRequest, Any], Details] = _no_details
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ButtonLink:
    """A button as a page shows it."""

    name: str
    label: str
    address: str
    tone: ButtonTone


@dataclass(frozen=True, slots=True)
class Status:
    """What a row's page is about, as a token that changes with it; ``busy`` while something is under way.

    ``elapsed_seconds`` is for how long it has been under way, 0 where nothing is.
    """

    token: str
    busy: bool
    elapsed_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Page:
    """A page of our own: its template and what it shows; ``buttons`` in it replaces what is offered."""

    template: str
    context: dict[str, Any]


class ActingAdmin(ScopedAdmin):
    """Rows with buttons. ``add_button`` makes a new row, through its service like every other act."""

    buttons: ClassVar[tuple[Button, ...]] = ()
    add_button: ClassVar[Button | None] = None

    def world_of(self, row: Any) -> str:
        """Return the id of the world that decides who may press the row's buttons."""
        return str(row.world_id)

    def name_of(self, row: Any) -> str:
        """Return what the pages call the row."""
        return str(row)

    def permission_of(self, button: Button, _row: Any) -> str:
        """Return what a person needs to press the button of this row."""
        return button.permission

    def may_press(self, request: HttpRequest, row: Any, button: Button) -> bool:
        """Tell whether the person may press the button of this row."""
        return grants_of(request).allows(self.permission_of(button, row), self.world_of(row))

    def offered(self, request: HttpRequest, row: Any) -> list[ButtonLink]:
        """Return the buttons that make sense for the row and that this person may press."""
        return [
            ButtonLink(button.name, button.label, act_address(row, button.name), button.tone)
            for button in self.buttons
            if self.may_press(request, row, button) and button.shown(row)
        ]

    def status_of(self, row: Any) -> Status:
        """Return what an open page must know to tell that it is out of date."""
        return Status(token=str(row.pk), busy=False)

    def get_urls(self) -> list[URLPattern]:
        """Add the pages of the buttons and the status that open pages ask for."""
        act, status = self.admin_site.admin_view(self.act_view), self.admin_site.admin_view(self.status_view)
        return [
            path("<path:object_id>/act/<slug:name>/", act, name=f"{self._url_name}_act"),
            path("<path:object_id>/status/", status, name=f"{self._url_name}_status"),
            *super().get_urls(),
        ]

    def status_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Answer an open page that asks whether it is still right.

        Raises:
            Http404: no such row.
        """
        return JsonResponse(asdict(self.status_of(self.found(request, object_id))))

    def has_add_permission(self, _request: HttpRequest) -> bool:
        """Allow it where there is a service for it and the person may call that somewhere."""
        return self.add_button is not None and has_anywhere(_request, self.add_button.permission)

    def add_view(self, request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
        """Make a new row through its service.

        Raises:
            PermissionDenied: the person may not.
        """
        if self.add_button is None or not self.has_add_permission(request):
            raise PermissionDenied
        return self._answer(request, None, self.add_button)

    def act_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """Show a button's page, and press the button where the page was sent.

        Raises:
            Http404: no such row or button.
            PermissionDenied: the person may not press it.
        """
        row = self.found(request, object_id)
        button = next((one for one in self.buttons if one.name == name), None)
        if button is None:
            raise Http404
        if not self.may_press(request, row, button):
            raise PermissionDenied
        return self._answer(request, row, button)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show one row with its buttons, on the page that ``page_of`` makes or on Django's.

        Raises:
            Http404: no such row.
            PermissionDenied: something was sent here; only buttons change anything.
        """
        if request.method not in {"GET", "HEAD"}:
            raise PermissionDenied
        row = self.found(request, object_id)
        page = self.page_of(request, row)
        context = {
            "buttons": self.offered(request, row),
            "status": self.status_of(row),
            "status_address": status_address(row),
            **(page.context if page else {}),
            **(extra_context or {}),
        }
        if page is None:
            return super().change_view(request, object_id, form_url, context)
        return TemplateResponse(
            request,
            page.template,
            {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "list_name": label_of(self.model.__name__),
                **context,
            },
        )

    def page_of(self, _request: HttpRequest, _row: Any) -> Page | None:
        """Return the page of a row, where it has one of its own."""
        return None

    @property
    def _url_name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}"

    def _back(self, row: Any) -> str:
        return reverse(f"admin:{self._url_name}_changelist") if row is None else page_address(row)

    def _answer(self, request: HttpRequest, row: Any, button: Button) -> HttpResponse:
        data = (request.POST, request.FILES) if request.method == "POST" else ()
        initial = {"reason": button.reason} if button.reason else {}
        form = button.form(*data, request=request, target=row, initial=initial)
        faults: list[Any] = []
        if request.method == "POST" and form.is_valid():
            act = act_of(request, reason=form.cleaned_data["reason"])
            try:
                return _follow(request, button.perform(Submission(request, row, form, act)))
            except PolicyInvalidError as error:
                faults = shown_faults(form.cleaned_data["text"], error.faults)
            except WorldsError as error:
                form.add_error(None, error.detail)
        return self._page(request, row, button, form, faults)

    def _page(
        self, request: HttpRequest, row: Any, button: Button, form: ReasonForm, faults: list[Any]
    ) -> HttpResponse:
        details = button.details(request, row)
        context = {
            **self.admin_site.each_context(request),
            **details.context,
            "title": button.label if row is None else f"{button.label}: {self.name_of(row)}",
            "row_name": "" if row is None else self.name_of(row),
            "opts": self.opts,
            "list_name": label_of(self.model.__name__),
            "row": row,
            "form": form,
            "button": button,
            "ready": details.ready,
            "details_template": details.template,
            "afterwards": button.afterwards(row),
            "back": self._back(row),
            "faults": faults,
            "has_file_field": form.is_multipart(),
        }
        return TemplateResponse(request, "admin/worlds/act.html", context)


def _follow(request: HttpRequest, done: Done | HttpResponse) -> HttpResponse:
    if isinstance(done, HttpResponse):
        return done
    messages.success(request, done.message)
    return HttpResponseRedirect(done.address)
