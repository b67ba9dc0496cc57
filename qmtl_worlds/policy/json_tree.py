"""Take a policy that came as JSON values exactly as strictly as one that came as text: JSON is YAML."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

from qmtl_worlds.contracts.errors import PolicyInvalidError
from qmtl_worlds.contracts.faults import Fault
from qmtl_worlds.policy.places import SourceTree
from qmtl_worlds.policy.yaml_events import MAX_DEPTH, MAX_NODES
from qmtl_worlds.policy.yaml_tree import read_yaml


def read_mapping(value: Mapping[str, object]) -> SourceTree:
    """Return ``value`` as a tree without text; all its faults stand at line 1, column 1.

    Raises:
        PolicyInvalidError: too large, too deep, or holding what JSON cannot.
    """
    check_size(value)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        tree = read_yaml(text)
    except (TypeError, ValueError) as error:
        raise _refused("bad-number", "the policy holds a value that is no JSON, such as NaN") from error
    except PolicyInvalidError as error:
        raise PolicyInvalidError(replace(fault, line=1, column=1) for fault in error.faults) from error
    return SourceTree(tree.value, faults=tuple(replace(fault, index=None) for fault in tree.faults), broken=tree.broken)


def check_size(value: object) -> None:
    """Refuse more values or levels than a text may have; goes level by level, and stops at the first sign.

    Raises:
        PolicyInvalidError: too large, too deep, or with a key that is no text.
    """
    level: list[object] = [value]
    nodes = depth = 0
    while level:
        nodes += len(level)
        depth += 1
        if nodes > MAX_NODES:
            raise _refused("too-many-nodes", f"a policy has at most {MAX_NODES} values")
        if depth > MAX_DEPTH + 1:
            raise _refused("too-deep", f"a policy nests at most {MAX_DEPTH} deep")
        level = [child for item in level for child in _children(item)]


def _children(item: object) -> Iterator[object]:
    if isinstance(item, Mapping):
        if not all(isinstance(key, str) for key in item):
            raise _refused("bad-key", "a key must be text")
        yield from item
        yield from item.values()
    elif isinstance(item, list | tuple):
        yield from item


def _refused(code: str, message: str) -> PolicyInvalidError:
    return PolicyInvalidError([Fault(1, 1, "", code, message)])
