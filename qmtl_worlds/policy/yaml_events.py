"""Read YAML as events, refusing what could exhaust the reader before anything is built.

Only the pure Python reader of PyYAML is used: it keeps its own stack, while the one in C recurses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import yaml

from qmtl_worlds.contracts.errors import PolicyInvalidError
from qmtl_worlds.policy.faults import text_fault

MAX_DEPTH: Final = 20
MAX_NODES: Final = 5_000

_TOO_DEEP: Final = f"a policy nests at most {MAX_DEPTH} deep"


def read_nodes(text: str) -> Iterator[yaml.Event]:
    """Yield the node and end-of-collection events of the one document in ``text``; none where it is empty.

    Raises:
        PolicyInvalidError: no YAML, more than one document, over 20 levels or over 5,000 nodes.
    """
    depth = nodes = documents = 0
    for event in _parse(text):
        documents += isinstance(event, yaml.DocumentStartEvent)
        nodes += isinstance(event, yaml.NodeEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if documents > 1:
            raise _refused(text, event, "many-documents", "a policy is one document")
        if nodes > MAX_NODES:
            raise _refused(text, event, "too-many-nodes", f"a policy has at most {MAX_NODES} values")
        if depth > MAX_DEPTH:
            raise _refused(text, event, "too-deep", _TOO_DEEP)
        if isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
            yield event


def start_of(event: yaml.Event) -> int:
    """Return the index of the event's first character."""
    return event.start_mark.index if event.start_mark else 0


def end_of(event: yaml.Event) -> int:
    """Return the index after the event's last character."""
    return event.end_mark.index if event.end_mark else 0


class _TooDeepError(yaml.MarkedYAMLError):
    pass


class _Reader(yaml.SafeLoader):
    """Counts brackets while scanning: the scanner looks a thousand of them ahead before it tells."""

    def fetch_flow_collection_start(self, TokenClass: type[yaml.Token]) -> None:  # noqa: N803 - the base class's name
        if self.flow_level >= MAX_DEPTH:
            raise _TooDeepError(problem=_TOO_DEEP, problem_mark=self.get_mark())
        super().fetch_flow_collection_start(TokenClass)


def _parse(text: str) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(text, Loader=_Reader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        code = "too-deep" if isinstance(error, _TooDeepError) else "bad-yaml"
        message = error.problem or error.context or "this is no YAML"
        raise text_fault(text, mark.index if mark else 0, code, _printable(message)) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise text_fault(text, 0, "bad-yaml", _printable(str(error))) from error


def _refused(text: str, event: yaml.Event, code: str, message: str) -> PolicyInvalidError:
    return text_fault(text, start_of(event), code, message)


def _printable(message: str) -> str:
    return message.encode("ascii", "backslashreplace").decode()[:200]
