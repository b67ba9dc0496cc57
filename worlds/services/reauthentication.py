"""When the person of a session last entered the password: what lets more trade asks for it again."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from django.contrib.auth import authenticate
from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver

from qmtl_worlds.lifecycle.approval import REAUTHENTICATION_AGE
from worlds.stores.clock import database_now

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.contrib.sessions.backends.base import SessionBase
    from django.http import HttpRequest

SESSION_KEY: Final = "reauthenticated_at"
"""Where the session keeps the time, as ISO-8601 in UTC."""


def reauthenticated_at(session: SessionBase) -> datetime | None:
    """Return when the password was last entered in this session; None where that is not known."""
    text = session.get(SESSION_KEY)
    if not isinstance(text, str):
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


def is_recent(at: datetime | None, *, now: datetime) -> bool:
    """Tell whether the password was entered so short a time ago that it need not be entered again."""
    return at is not None and 0 <= (now - at).total_seconds() <= REAUTHENTICATION_AGE.total_seconds()


def reauthenticate(*, request: HttpRequest, user: User, password: str) -> bool:
    """Check the password of who is signed in, and remember the time; the session gets a new key."""
    known = authenticate(request, username=user.get_username(), password=password)
    if known is None or known.pk != user.pk:
        return False
    request.session.cycle_key()
    _stamp(request.session)
    return True


@receiver(user_logged_in, dispatch_uid="reauthentication.stamp")
def stamp_login(request: HttpRequest, **_signal: object) -> None:
    """Signing in is entering the password."""
    _stamp(request.session)


def _stamp(session: SessionBase) -> None:
    session[SESSION_KEY] = database_now().isoformat()
