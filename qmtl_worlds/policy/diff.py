"""What changes between two policies, in the order of the newer one; blanks and parentheses are no change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from qmtl_worlds.policy.compiler import CompiledPolicy
from qmtl_worlds.policy.gate_tree import print_gates
from qmtl_worlds.policy.places import Path, path_text
from qmtl_worlds.policy.printing import print_expression

ChangeKind = Literal["added", "removed", "changed"]

_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Change:
    """One difference; ``before`` and ``after`` are JSON values, None where there was or is nothing."""

    path: str
    before: object
    after: object
    kind: ChangeKind


def diff(old: CompiledPolicy, new: CompiledPolicy) -> tuple[Change, ...]:
    """Compare two policies with their defaults filled in; equal meaning gives no change."""
    return tuple(_changes((), _comparable(old), _comparable(new)))


def _comparable(policy: CompiledPolicy) -> dict[str, object]:
    plain = policy.document.plain()
    plain["selection"] |= {"gates": print_gates(policy.gates), "score": print_expression(policy.score)}
    return plain


def _changes(path: Path, before: object, after: object) -> Iterator[Change]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys([*after, *before]):
            yield from _changes((*path, key), before.get(key, _ABSENT), after.get(key, _ABSENT))
    elif isinstance(before, list) and isinstance(after, list):
        yield from _list_changes(path, before, after)
    elif before is _ABSENT:
        yield Change(path_text(path), None, after, "added")
    elif after is _ABSENT:
        yield Change(path_text(path), before, None, "removed")
    elif before != after:
        yield Change(path_text(path), before, after, "changed")


def _list_changes(path: Path, before: list[object], after: list[object]) -> Iterator[Change]:
    """Compare entries whatever their order; one that differs is paired with one that begins like it."""
    gone = [(number, entry) for number, entry in enumerate(before) if entry not in after]
    for number, entry in enumerate(after):
        if entry in before:
            continue
        partner = next((old for old in gone if _begins_alike(old[1], entry)), None)
        if partner is None:
            yield Change(path_text((*path, number)), None, entry, "added")
        else:
            gone.remove(partner)
            yield from _changes((*path, number), partner[1], entry)
    for number, entry in gone:
        yield Change(path_text((*path, number)), entry, None, "removed")


def _begins_alike(old: object, new: object) -> bool:
    if isinstance(old, str) and isinstance(new, str):
        return old.split()[:1] == new.split()[:1]
    return isinstance(old, Mapping) and isinstance(new, Mapping) and list(old)[:1] == list(new)[:1]
