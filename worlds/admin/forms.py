"""What a person fills in before an act."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any, Final

from django import forms
from django.contrib.auth.models import User
from django.http import HttpRequest

from strategies.models import Provenance
from worlds.admin.access import readable_worlds, user_of
from worlds.models import World
from worlds.services.authority import roles
from worlds.services.reauthentication import is_recent, reauthenticate, reauthenticated_at
from worlds.stores.clock import database_now

REASON_LENGTH: Final = 500
POLICY_BYTES: Final = 64 * 1024


class ReasonForm(forms.Form):
    """Why: goes into the audit with every act."""

    reason = forms.CharField(
        max_length=REASON_LENGTH,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Stands in the audit for ever.",
    )

    def __init__(self, *args: Any, request: HttpRequest, target: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request
        self.target = target
        self.order_fields([name for name in self.fields if name not in {"reason", "password"}])


class RunForm(ReasonForm):
    """An act with a run id of its own: sent twice, it is done once."""

    run_id = forms.CharField(max_length=128, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["run_id"].initial = f"manual-{database_now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


class RollbackForm(RunForm):
    """Back to which generation; the address of the page names it."""

    to_generation = forms.IntegerField(min_value=0, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["to_generation"].initial = self.request.GET.get("to")


class SecondPersonForm(ReasonForm):
    """What lets more trade: asks for the password again where it was not entered in the last five minutes."""

    password = forms.CharField(
        label="Your password",
        strip=False,
        max_length=4096,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
        help_text="You entered it more than five minutes ago.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if is_recent(reauthenticated_at(self.request.session), now=database_now()):
            del self.fields["password"]

    def clean_password(self) -> str:
        """Check the password and remember the time.

        Raises:
            ValidationError: it is not the password of who is signed in.
        """
        password: str = self.cleaned_data["password"]
        if not reauthenticate(request=self.request, user=user_of(self.request), password=password):
            raise forms.ValidationError("That is not your password.")
        return ""


class ApproveForm(SecondPersonForm):
    """Approval of exactly the plan on the page."""

    plan_hash = forms.CharField(max_length=71, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["plan_hash"].initial = self.target.plan_hash


class PolicyForm(ReasonForm):
    """A policy's text, typed or as a file."""

    text = forms.CharField(
        label="Policy",
        required=False,
        strip=False,
        max_length=POLICY_BYTES,
        widget=forms.Textarea(attrs={"rows": 24, "spellcheck": "false", "class": "source", "wrap": "off"}),
        help_text="YAML; a new version number for every change.",
    )
    file = forms.FileField(label="or a file", required=False, help_text="At most 64 KiB; replaces the text above.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.order_fields(["text", "file", "reason"])
        if isinstance(self.target, World) and self.target.policy is not None:
            self.fields["text"].initial = self.target.policy.text

    def clean_file(self) -> str:
        """Return the text of the file, empty without one.

        Raises:
            ValidationError: it is too large, or no UTF-8.
        """
        file = self.cleaned_data.get("file")
        if file is None:
            return ""
        if (file.size or 0) > POLICY_BYTES:
            raise forms.ValidationError(f"The file has {file.size} bytes; at most {POLICY_BYTES} are taken.")
        try:
            return str(file.read(), "utf-8")
        except UnicodeDecodeError as error:
            raise forms.ValidationError(f"Not UTF-8: byte {error.start + 1} cannot be read.") from error

    def clean(self) -> dict[str, Any]:
        """Take the file where there is one.

        Raises:
            ValidationError: neither text nor file was given.
        """
        cleaned = super().clean() or {}
        cleaned["text"] = cleaned.get("file") or cleaned.get("text") or ""
        if not cleaned["text"].strip() and not self.errors:
            raise forms.ValidationError("Type a policy, or choose a file.")
        return cleaned


class WorldForm(ReasonForm):
    """A new world."""

    id = forms.CharField(label="World id", max_length=63, help_text="Lower-case letters, digits, _ and -; for ever.")
    name = forms.CharField(max_length=200, required=False)
    owner = forms.CharField(max_length=200, required=False)
    description = forms.CharField(max_length=2000, required=False, widget=forms.Textarea(attrs={"rows": 2}))
    mode = forms.ChoiceField(choices=World.Mode.choices, initial=World.Mode.PAPER)


class RoleForm(ReasonForm):
    """Who holds which role, in which world or everywhere."""

    user = forms.ModelChoiceField(label="Person", queryset=User.objects.filter(is_active=True).order_by("username"))
    role = forms.ChoiceField(choices=lambda: _names(roles().people))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["world"] = forms.ModelChoiceField(
            queryset=readable_worlds(self.request, "members.manage"), required=False, empty_label="everywhere"
        )
        self.order_fields(["user", "role", "world", "reason"])


class TokenForm(ReasonForm):
    """A machine's credential."""

    name = forms.CharField(max_length=200, help_text="What will use it.")
    role = forms.ChoiceField(choices=lambda: _names(roles().machines))
    strategies = forms.CharField(
        max_length=4000, required=False, help_text="Strategy ids with blanks between them; none means all."
    )
    provenance = forms.ChoiceField(
        label="Its returns are",
        choices=[("", "as the mode of the world"), *Provenance.choices],
        required=False,
        help_text="Counts for tokens that push returns.",
    )
    days = forms.IntegerField(label="Valid for days", min_value=1, max_value=366, initial=90)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["worlds"] = forms.ModelMultipleChoiceField(
            queryset=readable_worlds(self.request, "tokens.manage"),
            required=False,
            help_text="None chosen means every world.",
        )
        self.order_fields(["name", "role", "worlds", "strategies", "provenance", "days", "reason"])


def _names(known: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, name) for name in known]
