from __future__ import annotations

import ast
import re

from tests.architecture.source import ROOT, Function, files, modules, product

LONGEST_FILE = 300
LONGEST_FUNCTION = 60
MOST_IGNORES = 5
MOST_BROAD_EXCEPTS = 3
SAYS_NOTHING = frozenset({"common", "helpers", "misc", "util", "utils"})
# Django finds models and admin pages by importing the package, so these two say what is in it.
SPEAKING_ROOTS = re.compile(r"qmtl_worlds/__init__\.py|[a-z]+/(models|admin)/__init__\.py")


def length_without_docstring(function: Function) -> int:
    docstring = function.body[0] if ast.get_docstring(function) is not None else None
    inside = 0 if docstring is None else (docstring.end_lineno or 0) - docstring.lineno + 1
    return (function.end_lineno or 0) - function.lineno + 1 - inside


def test_no_file_is_longer_than_a_reader_remembers() -> None:
    too_long = {module.name: module.text.count("\n") for module in modules() if module.text.count("\n") > LONGEST_FILE}

    assert too_long == {}


def test_no_function_is_longer_than_a_screen() -> None:
    too_long = {
        f"{module.name}:{function.lineno} {function.name}": length_without_docstring(function)
        for module in modules()
        for function in module.functions()
        if length_without_docstring(function) > LONGEST_FUNCTION
    }

    assert too_long == {}


def test_no_function_imports() -> None:
    hidden = {
        f"{module.name}:{node.lineno}"
        for module in modules()
        for function in module.functions()
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }

    assert hidden == set()


def test_every_file_has_a_name_that_says_what_is_in_it() -> None:
    empty_names = [module.name for module in modules() if module.path.stem in SAYS_NOTHING]

    assert empty_names == []


def test_no_class_of_ours_is_a_manager_or_a_handler() -> None:
    named = [
        f"{module.name} {node.name}"
        for module in product()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and re.search(r"Manager|Handler", node.name)
    ]

    assert named == []


def test_package_roots_are_empty() -> None:
    roots = [module for module in modules() if module.path.name == "__init__.py"]

    speaking = [module.name for module in roots if module.text.strip() and not SPEAKING_ROOTS.fullmatch(module.name)]

    assert speaking == []


def test_types_are_ignored_at_most_five_times() -> None:
    pattern = re.compile(r"#\s*type:\s*" + "ignore")

    ignores = [module.name for module in modules() for _ in pattern.findall(module.text)]

    assert len(ignores) <= MOST_IGNORES, ignores


def test_broad_excepts_stand_in_three_places_at_most() -> None:
    broad = [
        f"{module.name}:{node.lineno}"
        for module in product()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler) and _is_broad(node)
    ]

    assert len(broad) <= MOST_BROAD_EXCEPTS, broad


def _is_broad(handler: ast.ExceptHandler) -> bool:
    caught = handler.type
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(
        name is None or (isinstance(name, ast.Name) and name.id in {"Exception", "BaseException"}) for name in names
    )


def test_no_work_is_left_as_a_note() -> None:
    note = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")

    noted = [module.name for module in modules() if note.search(module.text)]

    assert noted == []


def test_every_migration_has_a_name() -> None:
    migrations = [path for path in files() if path.parent.name == "migrations" and path.name != "__init__.py"]

    unnamed = [
        path.relative_to(ROOT).as_posix()
        for path in migrations
        if path.suffix == ".py" and not re.fullmatch(r"\d{4}_(?!auto_)[a-z][a-z0-9_]*\.py", path.name)
    ]

    assert migrations
    assert unnamed == []
