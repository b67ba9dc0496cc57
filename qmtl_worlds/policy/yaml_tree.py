"""Build plain values from YAML, remembering where each key and value stands."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from qmtl_worlds.policy.places import Path, PathFault, Place, SourceTree
from qmtl_worlds.policy.text_checks import find_unprintable, read_text
from qmtl_worlds.policy.yaml_events import end_of, read_nodes, start_of
from qmtl_worlds.policy.yaml_scalars import Scalar, resolve_plain

Value = Scalar | list["Value"] | dict[str, "Value"]


def read_yaml(source: str | bytes) -> SourceTree:
    """Read YAML (or JSON) text; duplicate keys, aliases, anchors, tags and odd values become faults of the tree.

    Raises:
        PolicyInvalidError: the text as a whole cannot be read.
    """
    return _Builder(read_text(source)).tree()


class _Builder:
    """Takes events one by one; the depth of the text, and so of this recursion, is limited."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._events: Iterator[yaml.Event] = read_nodes(text)
        self._places: dict[Path, Place] = {}
        self._faults: list[PathFault] = []
        self._broken: set[Path] = set()

    def tree(self) -> SourceTree:
        """Read the whole document."""
        root = next(self._events, None)
        value = None if root is None else self._node(root, (), None)
        for _ in self._events:
            continue
        return SourceTree(value, self._text, self._places, tuple(self._faults), frozenset(self._broken))

    def _node(self, event: yaml.Event, path: Path, key: yaml.Event | None) -> Value:
        start = start_of(event)
        scalar = event.value if isinstance(event, yaml.ScalarEvent) else None
        self._places[path] = Place(start if key is None else start_of(key), start, end_of(event), scalar)
        self._check_properties(event, path)
        match event:
            case yaml.MappingStartEvent():
                return self._mapping(path)
            case yaml.SequenceStartEvent():
                return self._sequence(path)
            case yaml.ScalarEvent():
                return self._scalar(event, path)
            case _:
                self._break(path, "alias", "aliases are not allowed; write the value again")
                return None

    def _sequence(self, path: Path) -> list[Value]:
        items: list[Value] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items)), None))
        return items

    def _mapping(self, path: Path) -> dict[str, Value]:
        values: dict[str, Value] = {}
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            name = self._name(key, path)
            if name is None or name in values:
                self._skip(next(self._events))
            else:
                values[name] = self._node(next(self._events), (*path, name), key)
        return values

    def _name(self, key: yaml.Event, path: Path) -> str | None:
        """Return the name that a key is, None where it is none; notes what is wrong with it."""
        self._check_properties(key, path)
        if (fault := _key_fault(key)) is not None:
            self._skip(key)
            self._fault(path, *fault, start_of(key))
            return None
        name: str = key.value if isinstance(key, yaml.ScalarEvent) else ""
        if first := self._places.get((*path, name)):
            line = self._text.count("\n", 0, first.key) + 1
            message = f"{name[:40]!a} stands twice, first on line {line}"
            self._fault((*path, name), "duplicate-key", message, start_of(key))
        return name

    def _skip(self, event: yaml.Event) -> None:
        depth = int(isinstance(event, yaml.CollectionStartEvent))
        while depth:
            event = next(self._events)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)

    def _scalar(self, event: yaml.ScalarEvent, path: Path) -> Value:
        text = event.value
        if find_unprintable(text) is not None:
            self._break(path, "bad-character", "the value holds a character that nobody sees")
            return None
        if event.style:
            return text
        try:
            return resolve_plain(text)
        except ValueError as error:
            self._break(path, "bad-number", str(error))
            return None

    def _check_properties(self, event: yaml.Event, path: Path) -> None:
        index = start_of(event)
        if isinstance(event, yaml.AliasEvent):
            return
        if getattr(event, "anchor", None) is not None:
            self._fault(path, "anchor", "anchors are not allowed", index)
        if getattr(event, "tag", None) is not None:
            self._fault(path, "tag", "tags are not allowed", index)

    def _break(self, path: Path, code: str, message: str) -> None:
        self._fault(path, code, message, self._places[path].start)
        self._broken.add(path)

    def _fault(self, path: Path, code: str, message: str, index: int) -> None:
        self._faults.append(PathFault(path, code, message, index=index))


def _key_fault(key: yaml.Event) -> tuple[str, str] | None:
    if not isinstance(key, yaml.ScalarEvent) or not (key.style or _is_text(key.value)):
        return "bad-key", "a key must be text"
    if find_unprintable(key.value) is not None:
        return "bad-character", "the key holds a character that nobody sees"
    if key.value == "<<":
        return "merge-key", "merge keys are not allowed; write the values again"
    return None


def _is_text(name: str) -> bool:
    try:
        return isinstance(resolve_plain(name), str)
    except ValueError:
        return False
