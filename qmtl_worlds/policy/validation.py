"""Validate the plain values of a policy against the document, and say all that is wrong in our own words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from qmtl_worlds.contracts.digests import canonical_json
from qmtl_worlds.policy.expression_checks import TextFault, metric_choices
from qmtl_worlds.policy.field_names import field_names
from qmtl_worlds.policy.fields import Part
from qmtl_worlds.policy.gates import EXPRESSION_FAULT
from qmtl_worlds.policy.places import Path, PathFault

PartT = TypeVar("PartT", bound=Part)

_TAGS: Final = frozenset({"<condition>", "<and>", "<or>", "<not>", "<every>", "<at>"})
_MESSAGES: Final[dict[str, tuple[str, str]]] = {
    "missing": ("missing", "is required"),
    "int_type": ("wrong-type", "must be a whole number"),
    "int_from_float": ("wrong-type", "must be a whole number"),
    "float_type": ("wrong-type", "must be a number"),
    "finite_number": ("bad-number", "must be a finite number"),
    "string_type": ("wrong-type", "must be text; put it in quotes"),
    "bool_type": ("wrong-type", "must be true or false"),
    "tuple_type": ("wrong-type", "must be a list"),
    "model_type": ("wrong-type", "must be a section of keys"),
    "model_attributes_type": ("wrong-type", "must be a section of keys"),
    "dict_type": ("wrong-type", "must be a section of keys"),
    "literal_error": ("not-one-of", "must be {expected}"),
    "string_pattern_mismatch": ("bad-format", "must match {pattern}"),
    "greater_than": ("out-of-range", "must be above {gt:g}"),
    "greater_than_equal": ("out-of-range", "must be at least {ge:g}"),
    "less_than": ("out-of-range", "must be below {lt:g}"),
    "less_than_equal": ("out-of-range", "must be at most {le:g}"),
    "too_short": ("too-few", "must have at least {min_length} entry"),
    "too_long": ("too-many", "must have at most {max_length} entries"),
}


def validate(value: object, model: type[PartT]) -> PartT | tuple[PathFault, ...]:
    """Return the section that ``value`` describes, or all its faults, with paths from that section on."""
    try:
        return model.model_validate_json(canonical_json(value))
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        return tuple(fault for detail in details for fault in _faults_of(detail))


def _faults_of(detail: ErrorDetails) -> Iterator[PathFault]:
    context: Mapping[str, Any] = detail.get("ctx", {})
    path: Path = tuple(step for step in detail["loc"] if step not in _TAGS)
    if detail["type"] == EXPRESSION_FAULT:
        yield from (_expression_fault(path, fault) for fault in context["faults"])
    elif detail["type"] == "extra_forbidden":
        yield _unknown_key(path)
    elif detail["type"] in _MESSAGES:
        code, message = _MESSAGES[detail["type"]]
        yield PathFault(path, code, message.format_map(context))
    else:
        path += (context["field"],) if "field" in context else ()
        yield PathFault(path, detail["type"], detail["msg"])


def _expression_fault(path: Path, fault: TextFault) -> PathFault:
    choices = metric_choices(fault.word) if fault.word is not None else ()
    return PathFault(path, fault.code, fault.message, column=fault.column, word=fault.word, choices=choices)


def _unknown_key(path: Path) -> PathFault:
    key = str(path[-1])
    known = field_names(path[:-1])
    return PathFault(path, "unknown-key", f"there is no key {key[:40]!a} here", at_key=True, word=key, choices=known)
