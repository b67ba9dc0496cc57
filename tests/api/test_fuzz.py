"""Requests that the OpenAPI document allows, and some that it does not: none finds a fault of ours.

Half of them name the world, the strategy and the runs that exist, so that they reach the verbs.
"""

from __future__ import annotations

import contextlib
from typing import Any, Final

import pytest
import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.callers import machine
from tests.worlds.factories import LAST_CLOSE, shell
from worlds.api import waiting
from worlds.services.dispatch import beat_of_worker
from worlds.services.heartbeats import TICK, beat

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("run_worker_inline", "world")]

Operation = APIOperation[Any, Any, Any, Any]

AnyCase = Case[Any]

KNOWN: Final = {
    "world_id": "w1",
    "strategy_id": "good",
    "run_id": "eval-1",
    "version": 1,
    "generation": 1,
    "change_id": 1,
}
LAST: Final = ("/bindings/{strategy_id}", "/decisions")
"""What takes away the strategies that the others ask about."""
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture
def operations(monkeypatch: pytest.MonkeyPatch) -> list[Operation]:
    """Every operation of the document, served by the application in this process to a token that may do most."""
    monkeypatch.setattr(waiting, "DEFAULT_SECONDS", 0.01)
    monkeypatch.setattr(waiting, "LONGEST_SECONDS", 0.01)
    beat(process=TICK, now=shell().now)
    beat_of_worker()
    gateway = machine("gateway")
    gateway.post("/worlds/w1/evaluate", {"run_id": "eval-1", "as_of": LAST_CLOSE.isoformat(), "record": True})
    schema = schemathesis.openapi.from_wsgi("/api/schema", WSGIHandler(), headers=gateway.headers)
    schema.config.update(headers=gateway.headers)
    found = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    return sorted(found, key=lambda one: one.path.endswith(LAST))


def cases(operation: Operation, mode: GenerationMode) -> st.SearchStrategy[AnyCase]:
    """Half of the cases with names that exist."""
    known = {name: KNOWN[name] for name in KNOWN if f"{{{name}}}" in operation.path}
    return operation.as_strategy(mode) | operation.as_strategy(mode, path_parameters=known)


def run(operations: list[Operation], *, examples: int, mode: GenerationMode) -> int:
    """Send the cases of every operation and check the answers; return how many were sent."""
    sent = 0

    def send(case: AnyCase) -> None:
        nonlocal sent
        sent += 1
        response = case.call()
        case.validate_response(response, checks=CHECKS)

    for operation in operations:
        wrapped = settings(
            max_examples=examples,
            database=None,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(given(case=cases(operation, mode))(send))
        with contextlib.suppress(Unsatisfiable):  # an operation without parameters cannot be asked wrongly
            wrapped()
    return sent


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_finds_a_fault_of_ours(operations: list[Operation], mode: GenerationMode) -> None:
    sent = run(operations, examples=10, mode=mode)

    assert len(operations) > 40
    assert sent > 300
