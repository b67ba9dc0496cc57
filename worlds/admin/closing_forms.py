"""What a person fills in to lay something over the active set, and to open again what was closed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar, Final

from django import forms

from qmtl_worlds.contracts.ids import InstanceKey
from worlds.admin.access import grants_of
from worlds.admin.forms import ReasonForm, SecondPersonForm
from worlds.models import Reopening, World
from worlds.services.circuits import KEEP, RESET
from worlds.services.overrides import OverrideRequest
from worlds.services.reopening_requests import RULES, takes_two
from worlds.stores.clock import database_now

INACTIVE: Final = "inactive"
CAP: Final = "cap"
EXITS: Final = "exits"


class AskForm(SecondPersonForm):
    """Asks that a kill be lifted; whoever may grant that alone enters the password, and it is granted at once."""

    subject: ClassVar = Reopening.Subject.KILL

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        world = self.target if isinstance(self.target, World) else self.target.world
        alone = not takes_two(self.subject, world) and grants_of(self.request).allows(
            RULES[self.subject].grant, world.id
        )
        if not alone:
            self.fields.pop("password", None)


class ResetForm(AskForm):
    """Asks that a tripped circuit be reset."""

    subject = Reopening.Subject.CIRCUIT
    high_water_mark = forms.ChoiceField(
        label="High-water mark",
        choices=[
            (KEEP, "Keep it: drawdown counts from the old mark, so a world that is still down trips again"),
            (RESET, "Reset it: drawdown counts from the present equity; what was lost is not counted any more"),
        ],
        widget=forms.RadioSelect,
        initial=KEEP,
    )


class OverrideForm(ReasonForm):
    """What is laid over one instance, and for how long."""

    what = forms.ChoiceField(
        label="What it may do",
        choices=[
            (INACTIVE, "Inactive: it leaves the active set, and only exits pass"),
            (CAP, "At most a share of capital: it trades on, smaller"),
            (EXITS, "Exits only: it stays in the active set"),
        ],
        widget=forms.RadioSelect,
        initial=INACTIVE,
    )
    percent = forms.FloatField(
        label="At most, in % of capital",
        min_value=0.01,
        max_value=100,
        required=False,
        help_text="Counts for “at most a share of capital” only.",
    )
    hours = forms.FloatField(
        label="Ends by itself after hours",
        min_value=0.01,
        max_value=24 * 366,
        required=False,
        initial=24,
        help_text="Empty: it lasts until two people end it.",
    )

    def clean(self) -> dict[str, Any]:
        """Ask for the share where it counts.

        Raises:
            ValidationError: it is missing.
        """
        cleaned = super().clean() or {}
        if cleaned.get("what") == CAP and cleaned.get("percent") is None and "percent" not in self.errors:
            self.add_error("percent", "Say how much it may have at most.")
        return cleaned

    def wanted(self, key: InstanceKey) -> OverrideRequest:
        """Return what was filled in, as the service takes it; it replaces whatever lies there."""
        values = self.cleaned_data
        hours = values["hours"]
        return OverrideRequest(
            key=key,
            active=values["what"] != INACTIVE,
            weight=values["percent"] / 100 if values["what"] == CAP else None,
            freeze=values["what"] == EXITS,
            drain=False,
            expires_at=database_now() + timedelta(hours=hours) if hours else None,
        )
