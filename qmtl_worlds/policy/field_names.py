"""Which keys a section of the document has, for "did you mean"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from qmtl_worlds.policy.document import PolicyDocument
from qmtl_worlds.policy.fields import Part
from qmtl_worlds.policy.places import Path


def field_names(path: Path) -> tuple[str, ...]:
    """Return the keys that the section at ``path`` may have, empty where there is no such section."""
    sections: list[type[Part]] = [PolicyDocument]
    for step in path:
        if isinstance(step, str):
            sections = [part for section in sections for part in _sections_under(section, step)]
    return tuple(name for section in sections for name in _names(section))


def _names(section: type[Part]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield field.alias or name


def _sections_under(section: type[Part], key: str) -> Iterator[type[Part]]:
    for name, field in section.model_fields.items():
        if key == (field.alias or name):
            yield from _parts_in(field.annotation)


def _parts_in(annotation: object) -> Iterator[type[Part]]:
    if isinstance(annotation, type) and issubclass(annotation, Part):
        yield annotation
    for argument in get_args(annotation):
        yield from _parts_in(argument)
