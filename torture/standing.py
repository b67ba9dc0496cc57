"""The processes that are always there in a storm, by role, each started again after it was killed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from torture.children import Child, Children


class Standing:
    """Knows how each standing process is started."""

    def __init__(self, children: Children) -> None:
        """Start with none."""
        self._children = children
        self._words: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
        self._running: dict[str, list[Child]] = {}
        self._lock = threading.Lock()

    def add(self, name: str, role: str, **words: Any) -> Child:
        """Start a process under ``name``; several may share one."""
        with self._lock:
            self._words.setdefault(name, []).append((role, words))
            child = self._children.start(role, **words)
            self._running.setdefault(name, []).append(child)
            return child

    def kill(self, name: str) -> None:
        """End all of that name by SIGKILL."""
        with self._lock:
            for child in self._running.pop(name, []):
                child.kill()
                child.wait(5)

    def start(self, name: str) -> None:
        """Start all of that name as before."""
        with self._lock:
            self._running[name] = [self._children.start(role, **words) for role, words in self._words[name]]

    def names(self) -> list[str]:
        """Return the names, in the order in which they were added."""
        return list(self._words)

    def named(self, name: str) -> list[Child]:
        """Return the processes of that name."""
        return list(self._running.get(name, []))
