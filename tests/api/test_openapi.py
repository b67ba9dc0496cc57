from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.urls import get_resolver
from drf_spectacular.generators import SchemaGenerator

from qmtl_worlds.contracts.activation import ActivationEnvelope
from qmtl_worlds.contracts.decision_envelope import DecisionEnvelope
from tests.api.callers import Caller, session
from tests.worlds.factories import person
from worlds.api.shapes.activation import ActivationShape
from worlds.api.shapes.evaluations import DecisionShape

SNAPSHOT = Path(__file__).parent / "openapi.json"
METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture(scope="module")
def document() -> Any:
    generator: Any = SchemaGenerator
    return generator().get_schema(request=None, public=True)


def operations(document: Any) -> list[tuple[str, str, Any]]:
    return [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in METHODS
    ]


def test_document_is_valid_openapi_without_warnings(tmp_path: Path) -> None:
    target = tmp_path / "openapi.json"

    call_command("spectacular", "--validate", "--fail-on-warn", "--format", "openapi-json", "--file", str(target))

    assert json.loads(target.read_text())["openapi"] == "3.1.1"


def test_document_equals_its_snapshot(document: Any) -> None:
    written = json.dumps(json.loads(json.dumps(document)), indent=1, sort_keys=True) + "\n"

    assert written == SNAPSHOT.read_text(encoding="utf-8"), (
        "The contract has changed. If that is meant: manage.py spectacular --format openapi-json --file"
        " tests/api/openapi.json, then format it as this test does."
    )


def test_every_operation_says_who_may_call_it_and_how_it_refuses(document: Any) -> None:
    for path, method, operation in operations(document):
        assert operation["summary"], path
        assert operation["description"], path
        assert operation["tags"], path
        if path in {"/livez", "/readyz", "/health"}:
            continue
        assert operation["security"][0] == {"bearer": []}, (path, method)
        for status in ("401", "404", "422", "503"):
            assert operation["responses"][status] == {"$ref": f"#/components/responses/Problem{status}"}
            problem = document["components"]["responses"][f"Problem{status}"]["content"]["application/problem+json"]
            assert problem["schema"] == {"$ref": "#/components/schemas/ProblemShape"}


def test_every_route_of_the_api_is_in_the_document(document: Any) -> None:
    ((prefix, api), *_) = [(one.pattern, one) for one in get_resolver().url_patterns if hasattr(one, "url_patterns")]
    served = {"/" + str(one.pattern).replace("<str:", "{").replace(">", "}") for one in api.url_patterns}

    assert str(prefix) == ""
    assert served - set(document["paths"]) == {"/api/schema", "/api/docs"}


def test_shapes_name_what_the_library_sends() -> None:
    assert set(ActivationShape.__struct_fields__) == set(ActivationEnvelope.__dataclass_fields__)
    assert set(DecisionShape.__struct_fields__) == set(DecisionEnvelope.__annotations__)


@pytest.mark.django_db
def test_document_and_its_page_are_for_callers_only(gateway: Caller, client: Any) -> None:
    signed_in = session(person("viewer"))

    assert gateway.get("/api/schema").json()["openapi"] == "3.1.1"
    assert signed_in.get("/api/schema").status == 200
    page = signed_in.get("/api/docs")
    assert b"<script>" not in page.content
    assert b"style=" not in page.content
    assert b"api/schema" in signed_in.get("/api/docs?script=").content
    assert client.get("/api/docs").status_code == 302
