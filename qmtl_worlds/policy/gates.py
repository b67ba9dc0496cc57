"""Gates and score in the document: conditions, alone or under ``and:``, ``or:``, ``not:`` lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from qmtl_worlds.policy.expression_checks import TextFault, condition_faults, number_faults
from qmtl_worlds.policy.fields import Part
from qmtl_worlds.policy.tokens import MAX_CHARACTERS

EXPRESSION_FAULT = "expression"
"""The type of the pydantic error that carries ``TextFault`` values under ``faults``."""


def _checked(faults_of: Callable[[str], tuple[TextFault, ...]]) -> Callable[[str], str]:
    def check(text: str) -> str:
        if faults := faults_of(text):
            raise PydanticCustomError(EXPRESSION_FAULT, "the expression has faults", {"faults": faults})
        return text

    return check


ConditionText = Annotated[
    str, AfterValidator(_checked(condition_faults)), Field(json_schema_extra={"maxLength": MAX_CHARACTERS})
]
"""An expression that is true or false, such as ``sharpe_mid >= 0.6``."""

ScoreText = Annotated[
    str, AfterValidator(_checked(number_faults)), Field(json_schema_extra={"maxLength": MAX_CHARACTERS})
]
"""An expression that is a number."""


class AndGate(Part):
    """Passes where every child passes."""

    children: Annotated[tuple[Gate, ...], Field(min_length=1, alias="and", strict=False)]


class OrGate(Part):
    """Passes where some child passes."""

    children: Annotated[tuple[Gate, ...], Field(min_length=1, alias="or", strict=False)]


def _as_list(value: Any) -> Any:
    """``not: x`` means ``not: [x]``."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


class NotGate(Part):
    """Passes where every child fails."""

    children: Annotated[tuple[Gate, ...], BeforeValidator(_as_list), Field(min_length=1, alias="not")]


_KINDS = {"and": "<and>", "or": "<or>", "not": "<not>"}


def _gate_kind(value: Any) -> str | None:
    if isinstance(value, str):
        return "<condition>"
    if isinstance(value, Mapping):
        return next((tag for key, tag in _KINDS.items() if key in value), None)
    return {AndGate: "<and>", OrGate: "<or>", NotGate: "<not>"}.get(type(value))


Gate = Annotated[
    Annotated[ConditionText, Tag("<condition>")]
    | Annotated[AndGate, Tag("<and>")]
    | Annotated[OrGate, Tag("<or>")]
    | Annotated[NotGate, Tag("<not>")],
    Discriminator(
        _gate_kind,
        custom_error_type="wrong-type",
        custom_error_message="must be a condition in text, or a list under and:, or: or not:",
    ),
]

for _model in (AndGate, OrGate, NotGate):
    _model.model_rebuild()
