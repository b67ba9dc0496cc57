"""Requests to open again what was closed: what each asks for in words, and who decides."""

from __future__ import annotations

from typing import Any

from worlds.admin.access import people_with
from worlds.admin.words import moment_of, person_name, share
from worlds.models import Reopening
from worlds.services.authority import roles
from worlds.services.circuits import KEEP
from worlds.services.reopening_requests import RULES


def what_is_asked(row: Reopening) -> str:
    """Return what a request is about, in one line."""
    place = row.scope or "the world"
    return {
        Reopening.Subject.KILL: f"Lift the kill of {place}",
        Reopening.Subject.CIRCUIT: "Reset the risk circuit",
        Reopening.Subject.OVERRIDE: f"Loosen the override of {place}",
        Reopening.Subject.AWAITING_FLAT: f"Let {place} trade without a confirmed flat position",
    }[Reopening.Subject(row.subject)]


def details_of(row: Reopening) -> tuple[str, ...]:
    """Return the parameters of a request, in words."""
    found = row.parameters
    match Reopening.Subject(row.subject):
        case Reopening.Subject.KILL:
            return tuple(f"The kill of {person_name(owner)}, {moment_of(at)}" for owner, at in found.get("kills", ()))
        case Reopening.Subject.CIRCUIT:
            kept = "is kept" if found.get("high_water_mark") == KEEP else "starts again from the present equity"
            return (f"Incident {found.get('incident')}", f"The high-water mark {kept}")
        case Reopening.Subject.OVERRIDE:
            return tuple(_override_words(found))
        case Reopening.Subject.AWAITING_FLAT:
            return ()


def is_yours(row: Reopening, *, person: str, may_grant: bool) -> bool:
    """Tell whether this person may grant the request now."""
    return may_grant and bool(person) and not (row.second_person and person == row.requester_person)


def reopening_needs(row: Reopening) -> str:
    """Return who has to say yes, by role."""
    permission = grant_permission(row)
    able = " or ".join(sorted(name for name, permissions in roles().people.items() if permission in permissions))
    return f"for another person with the role {able}" if row.second_person else f"for the role {able}"


def who_grants(row: Reopening) -> tuple[str, ...]:
    """Return who may grant the request, by user name."""
    barred = [row.requester_person] if row.second_person else []
    return people_with(grant_permission(row), row.world_id, without=barred)


def grant_permission(row: Reopening) -> str:
    """Return what it takes to grant the request."""
    return RULES[Reopening.Subject(row.subject)].grant


def _override_words(found: dict[str, Any]) -> list[str]:
    cap = found["cap"]
    words = ["No cap" if cap >= 1 else "Inactive" if cap <= 0 else f"At most {share(cap)} of capital"]
    if found["freeze"] or found["drain"]:
        words.append("Exits only")
    words.append(f"Until {moment_of(found['expires_at'])}" if found["expires_at"] else "Until somebody changes it")
    return ["The override ends"] if words == ["No cap", "Until somebody changes it"] else words
