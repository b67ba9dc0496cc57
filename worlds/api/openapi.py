"""What each route takes and gives, stated once beside the view, and the OpenAPI document made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, TypeVar

import msgspec
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ComponentRegistry
from uritemplate import variables

from qmtl_worlds.contracts.ids import OBJECT_ID_PATTERN, WORLD_ID_PATTERN, Side
from worlds.api.bodies import JSON
from worlds.api.errors import PROBLEM_TYPE
from worlds.api.shapes.problem import ProblemShape

Schema = dict[str, Any]
F = TypeVar("F", bound=Callable[..., Any])

REFERENCE: Final = "#/components/schemas/{name}"
SECURITY: Final[Schema] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A machine token: qw_<role>_<id>_<secret>_<crc>."},
    "session": {"type": "apiKey", "in": "cookie", "name": "sessionid", "description": "A person; sends X-CSRFToken."},
}
PATH_PARAMETERS: Final[Mapping[str, Schema]] = {
    "world_id": {"type": "string", "pattern": f"^{WORLD_ID_PATTERN}$"},
    "strategy_id": {"type": "string", "pattern": f"^{OBJECT_ID_PATTERN}$"},
    "run_id": {"type": "string", "pattern": f"^{OBJECT_ID_PATTERN}$"},
    "version": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
    "generation": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
    "reopening_id": {"type": "integer", "minimum": 1, "maximum": 2**63 - 1},
    "alert_id": {"type": "integer", "minimum": 1, "maximum": 2**63 - 1},
    "change_id": {"type": "integer", "minimum": 1, "maximum": 2**63 - 1},
    "side": {"enum": [side.value for side in Side]},
}
_ALWAYS: Final = (400, 401, 403, 404, 413, 415, 422, 503)
_HEADERS: Final = {"X-Request-ID": {"description": "names this request in log and audit", "schema": {"type": "string"}}}


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one route.

    ``id`` may hold ``{last}`` and ``{before}``, the last two parts of the path. ``answers`` says which shape each
    success has, one of several where it is a tuple, None for no body. ``body_types`` are accepted in place of JSON,
    and ``answer_types`` given in its place. ``problems`` are statuses beyond those that every route can give.
    """

    id: str
    tag: str
    summary: str
    answers: Mapping[int, Any]
    body: Any = None
    body_types: tuple[str, ...] = ()
    answer_types: tuple[str, ...] = ()
    query: type | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[int, ...] = ()
    by_session: bool = False
    public: bool = False


def documented(operation: Operation) -> Callable[[F], F]:
    """Attach an operation to the method of a view."""

    def attach(method: F) -> F:
        _OPERATIONS[method] = operation
        return method

    return attach


class ApiSchema(AutoSchema):
    """Writes an operation from what stands beside the view's method; nothing is guessed."""

    def get_operation(
        self,
        path: str,
        path_regex: str,  # noqa: ARG002 - the base class's signature
        path_prefix: str,  # noqa: ARG002 - the base class's signature
        method: str,
        registry: ComponentRegistry,  # noqa: ARG002 - the base class's signature
    ) -> Schema | None:
        """Return one operation of the document, None for routes that are not part of the contract."""
        function = getattr(type(self.view), method.lower())
        operation = _OPERATIONS.get(function)
        if operation is None:
            return None
        parts: Schema = {
            "operationId": _id(operation, path),
            "tags": [operation.tag],
            "summary": operation.summary,
            "parameters": [*_path(path), *_query(operation), *_header(operation)],
            "security": _security(operation),
            "responses": dict(_responses(operation)),
        }
        if function.__doc__:
            parts["description"] = _paragraphs(function.__doc__)
        if operation.body is not None or operation.body_types:
            parts["requestBody"] = {"content": _contents(operation), "required": operation.body is None}
        return parts


def add_components(result: Schema, generator: SchemaGenerator, **_given: object) -> Schema:  # noqa: ARG001
    """Add the shapes that the operations name, and how to authenticate."""
    named = [shape for operation in _OPERATIONS.values() for shape in (*operation.answers.values(), operation.body)]
    single = [one for shape in named for one in (shape if isinstance(shape, tuple) else (shape,))]
    shapes = [*dict.fromkeys(one for one in single if one is not None), ProblemShape]
    _, components = msgspec.json.schema_components(shapes, ref_template=REFERENCE)
    statuses = {*_ALWAYS, *(status for operation in _OPERATIONS.values() for status in operation.problems)}
    result["components"] = {
        "schemas": dict(sorted(components.items())),
        "responses": {f"Problem{status}": _problem(status) for status in sorted(statuses)},
        "securitySchemes": SECURITY,
    }
    return result


def _id(operation: Operation, path: str) -> str:
    *_, before, last = ["", *path.split("/")]
    return operation.id.format(last=last, before=before)


def _path(path: str) -> list[Schema]:
    return [{"in": "path", "name": name, "required": True, "schema": PATH_PARAMETERS[name]} for name in variables(path)]


def _query(operation: Operation) -> Iterable[Schema]:
    if operation.query is None:
        return
    _, components = msgspec.json.schema_components([operation.query], ref_template=REFERENCE)
    shape = components[operation.query.__name__]
    required = set(shape.get("required", ()))
    for name, schema in shape["properties"].items():
        described = {"description": schema.pop("description")} if "description" in schema else {}
        yield {"in": "query", "name": name, "required": name in required, "schema": schema, **described}


def _header(operation: Operation) -> list[Schema]:
    return [
        {"in": "header", "name": name, "required": False, "description": words, "schema": {"type": "string"}}
        for name, words in operation.headers.items()
    ]


def _security(operation: Operation) -> list[Schema]:
    if operation.public:
        return []
    return [{"bearer": []}, {"session": []}] if operation.by_session else [{"bearer": []}]


def _contents(operation: Operation) -> Schema:
    contents: Schema = {} if operation.body is None else {JSON: {"schema": _reference(operation.body)}}
    for content_type in operation.body_types:
        contents[content_type] = {"schema": {"type": "string"}}
    return contents


def _responses(operation: Operation) -> Iterable[tuple[str, Schema]]:
    for status, shape in operation.answers.items():
        answer: Schema = {"description": HTTPStatus(status).phrase, "headers": _HEADERS}
        if shape is not None:
            answer["content"] = {JSON: {"schema": _reference(shape)}}
            answer["content"] |= {kind: {"schema": {"type": "string"}} for kind in operation.answer_types}
        yield str(status), answer
    failures = () if operation.public else _ALWAYS
    for status in sorted({*failures, *operation.problems} - set(operation.answers)):
        yield str(status), {"$ref": f"#/components/responses/Problem{status}"}


def _problem(status: int) -> Schema:
    content = {PROBLEM_TYPE: {"schema": {"$ref": REFERENCE.format(name=ProblemShape.__name__)}}}
    return {"description": HTTPStatus(status).phrase, "content": content, "headers": _HEADERS}


def _reference(shape: Any) -> Schema:
    if isinstance(shape, tuple):
        return {"anyOf": [_reference(one) for one in shape]}
    (schema,), _ = msgspec.json.schema_components([shape], ref_template=REFERENCE)
    return dict(schema)


def _paragraphs(docstring: str) -> str:
    return "\n".join(line.strip() for line in docstring.strip().splitlines())


_OPERATIONS: Final[dict[Any, Operation]] = {}
