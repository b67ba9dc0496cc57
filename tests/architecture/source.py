"""The project's own files, read once, for tests about how they are written."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PRODUCT = ("audit", "qmtl_worlds", "scripts", "strategies", "worlds")
NOT_OURS = frozenset(
    {".git", ".hypothesis", ".venv", ".data", "build", "dist", "node_modules", "__pycache__", "__snapshots__"}
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Module:
    """One Python file."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """The path from the root."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def in_product(self) -> bool:
        """Whether it ships, rather than tests or measures what ships."""
        return self.path.relative_to(ROOT).parts[0] in PRODUCT

    def functions(self) -> Iterator[Function]:
        """Every function and method, nested ones included."""
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))

    def imported_roots(self) -> set[str]:
        """The top-level packages that it imports."""
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add((node.module or "").partition(".")[0])
        return found


def files() -> list[Path]:
    """Every file of the tree that is ours, caches and environments left out."""
    return [path for path in _walk(ROOT) if path.is_file()]


@cache
def modules() -> tuple[Module, ...]:
    """Every Python file of ours but migrations, which a tool writes."""
    paths = sorted(path for path in files() if path.suffix == ".py" and "migrations" not in path.parts)
    texts = [(path, path.read_text(encoding="utf-8")) for path in paths]
    return tuple(Module(path, text, ast.parse(text)) for path, text in texts)


def product() -> list[Module]:
    """The Python files that ship."""
    return [module for module in modules() if module.in_product]


def under(*folders: str) -> list[Module]:
    """The Python files below these folders, or that are these files."""
    return [
        module
        for module in modules()
        if any(module.name == folder or module.name.startswith(f"{folder}/") for folder in folders)
    ]


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name in NOT_OURS or path.name.endswith("_cache") or path.is_symlink():
            continue
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path
