"""What is wrong with a text, and where."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing wrong with a text: where (path, 1-based line and column) and what (stable code, sentence)."""

    line: int
    column: int
    path: str
    code: str
    message: str

    def __str__(self) -> str:
        """Return ``line:column: path: message [code]``."""
        return f"{self.line}:{self.column}: {self.path or '(document)'}: {self.message} [{self.code}]"
