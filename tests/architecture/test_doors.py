from __future__ import annotations

import ast
import re

import pytest

from qmtl_worlds.contracts import errors
from tests.architecture.source import Module, modules, under

INTERFACES = ("worlds/api", "worlds/admin", "worlds/console", "worlds/live", "worlds/tasks.py", "worlds/selectors.py")
TIMING = ("qmtl_worlds/sdk", "worlds/live", "worlds/services/activation.py", "worlds/services/gate_facts.py")
WRITES = re.compile(
    r"\.objects\b[^\n]*\.(create|bulk_create|bulk_update|update|delete|get_or_create|update_or_create)\(|\.save\("
)


def services() -> list[Module]:
    return [module for module in modules() if module.in_product and "services" in module.path.parts]


def every_error() -> list[type[errors.WorldsError]]:
    found = [errors.WorldsError]
    for kind in found:
        found.extend(kind.__subclasses__())
    return found


def public_functions() -> list[tuple[str, ast.arguments]]:
    return [
        (f"{module.name} {node.name}", node.args)
        for module in services()
        for node in module.tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
    ]


def positional(arguments: ast.arguments) -> int:
    return len(arguments.posonlyargs) + len(arguments.args) + (arguments.vararg is not None)


def names(arguments: ast.arguments) -> set[str]:
    return {argument.arg for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]}


def test_every_verb_that_carries_an_act_takes_keywords_only() -> None:
    verbs = {name: arguments for name, arguments in public_functions() if "act" in names(arguments)}

    positional_verbs = [name for name, arguments in verbs.items() if positional(arguments)]

    assert verbs
    assert positional_verbs == []


@pytest.mark.parametrize("place", INTERFACES)
def test_interface_writes_no_row(place: str) -> None:
    writing = [
        f"{module.name}:{number}"
        for module in under(place)
        for number, line in enumerate(module.text.splitlines(), start=1)
        if WRITES.search(line)
    ]

    assert writing == []


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [kind.__dict__.get("code") for kind in every_error()]

    assert all(isinstance(code, str) and re.fullmatch(r"[a-z][a-z0-9-]*", code) for code in codes), codes
    assert len(set(codes)) == len(codes)


def test_every_error_belongs_to_one_family_that_has_a_status() -> None:
    families = set(errors.WorldsError.__subclasses__())

    strays = [
        kind.__name__
        for kind in every_error()
        if kind is not errors.WorldsError and len(families.intersection(kind.__mro__)) != 1
    ]

    assert strays == []
    assert {family.__name__ for family in families} == {
        "ConflictError",
        "InvalidError",
        "NotAllowedError",
        "NotFoundError",
        "UnavailableError",
    }


@pytest.mark.parametrize("place", TIMING)
def test_permissions_are_timed_by_a_clock_that_goes_on_while_the_host_sleeps(place: str) -> None:
    asleep = [module.name for module in under(place) if re.search(r"time\.monotonic|import monotonic", module.text)]

    assert under(place)
    assert asleep == []
