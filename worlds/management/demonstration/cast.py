"""The people and machines of the demonstration, with throw-away credentials."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.contrib.auth.models import User

from qmtl_worlds.contracts.acts import Act
from worlds.services.authority import act_of_person, act_of_shell
from worlds.services.members import grant_role
from worlds.services.tokens import create_token

ROLES: Final = {
    "alice": ("operator", "author", "admin"),
    "bob": ("approver",),
    "carol": ("approver", "risk"),
}


@dataclass(frozen=True, slots=True)
class Cast:
    """Who takes part: people by name with their passwords, and the files that hold the machines' tokens."""

    people: dict[str, User]
    passwords: dict[str, str]
    submitter_file: Path
    runner_file: Path

    def act(self, name: str, reason: str) -> Act:
        """Return an act of one of the people, now."""
        return act_of_person(self.people[name], reason=reason)


def hire(*, folder: Path) -> Cast:
    """Make the people, give them their roles, and write two tokens to files that only this user can read."""
    act = act_of_shell(reason="demo")
    people, passwords = {}, {}
    for name, roles in ROLES.items():
        passwords[name] = secrets.token_urlsafe(12)
        people[name] = User.objects.create_user(
            name, email=f"{name}@example.org", password=passwords[name], is_staff=True
        )
        for role in roles:
            grant_role(user=people[name], role=role, world=None, act=act)
    return Cast(
        people=people,
        passwords=passwords,
        submitter_file=_token_file(folder, "submitter", act),
        runner_file=_token_file(folder, "runner", act),
    )


def _token_file(folder: Path, role: str, act: Act) -> Path:
    path = folder / f"{role}.token"
    path.touch(mode=0o600)
    path.write_text(create_token(role=role, name=f"demo {role}", act=act).text + "\n", encoding="utf-8")
    return path
