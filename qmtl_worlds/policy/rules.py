"""Rules between sections; each part is judged even where others have faults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeVar

from qmtl_worlds.contracts.ids import Side
from qmtl_worlds.policy.document import Exposure, TopK
from qmtl_worlds.policy.fields import Part
from qmtl_worlds.policy.places import ABSENT, Path, PathFault, SourceTree
from qmtl_worlds.policy.validation import validate

PartT = TypeVar("PartT", bound=Part)

_TOPK: Final[Path] = ("selection", "topk")
_EXPOSURE: Final[Path] = ("selection", "constraints", "exposure")


def rule_faults(tree: SourceTree, *, world_id: str | None) -> Iterator[PathFault]:
    """Yield what sections have against each other, and against the world that the policy is for."""
    yield from _budget_of_used_sides(tree)
    world = tree.value_at(("world",))
    if world_id is not None and isinstance(world, str) and world != world_id:
        yield PathFault(("world",), "world-mismatch", f"this policy is for world {world_id!r}")


def _budget_of_used_sides(tree: SourceTree) -> Iterator[PathFault]:
    topk, exposure = _part(tree, _TOPK, TopK), _part(tree, _EXPOSURE, Exposure, default=Exposure())
    if topk is None or exposure is None:
        return
    for side in Side:
        if topk.by_side[side] > 0 and exposure.gross_budget[side] <= 0:
            path = (*_EXPOSURE, "gross_budget", side.value)
            yield PathFault(path, "missing", f"a budget above 0 is required: by_side gives {side.value} a slot")


def _part(tree: SourceTree, path: Path, model: type[PartT], default: PartT | None = None) -> PartT | None:
    """Return the section at ``path``, ``default`` where it is absent, None where it has faults of its own."""
    value = tree.value_at(path)
    if value is ABSENT:
        return default
    section = validate(value, model)
    return section if isinstance(section, model) else None
