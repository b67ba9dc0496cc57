"""Load a document from plain values, or raise all faults together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from qmtl_worlds.policy.document import PolicyDocument
from qmtl_worlds.policy.faults import invalid
from qmtl_worlds.policy.places import Path, PathFault, SourceTree
from qmtl_worlds.policy.rules import rule_faults
from qmtl_worlds.policy.validation import validate

MAX_CONDITIONS: Final = 100

_GATES: Final[Path] = ("selection", "gates")


def load_document(tree: SourceTree, *, world_id: str | None = None) -> PolicyDocument:
    """Return the document that ``tree`` describes; a given ``world_id`` must be its world.

    Raises:
        PolicyInvalidError: with the faults of reading, of structure and values, and between sections.
    """
    if tree.value is None:
        raise invalid([*tree.faults, PathFault((), "missing", "the policy is empty")], tree)
    if (count := _count_texts(tree.value_at(_GATES))) > MAX_CONDITIONS:
        message = f"gates have at most {MAX_CONDITIONS} conditions, here {count}"
        raise invalid([*tree.faults, PathFault(_GATES, "too-many-conditions", message)], tree)
    document = validate(tree.value, PolicyDocument)
    faults = [*tree.faults, *rule_faults(tree, world_id=world_id)]
    if not isinstance(document, PolicyDocument):
        faults += _worth_saying(document, tree)
    if isinstance(document, PolicyDocument) and not faults:
        return document
    raise invalid(faults, tree)


def _worth_saying(faults: Iterable[PathFault], tree: SourceTree) -> Iterator[PathFault]:
    """Leave out what only follows from another fault: values that could not be read, lists emptied by bad entries."""
    faults = tuple(faults)
    above = {fault.path[:length] for fault in faults for length in range(len(fault.path))}
    for fault in faults:
        if not tree.is_broken(fault.path) and not (fault.code == "too-few" and fault.path in above):
            yield fault


def _count_texts(value: object) -> int:
    if isinstance(value, dict):
        return sum(_count_texts(child) for child in value.values())
    if isinstance(value, list):
        return sum(_count_texts(child) for child in value)
    return isinstance(value, str)
