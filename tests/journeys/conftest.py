from __future__ import annotations

from tests.worlds.conftest import alice, bob, world

__all__ = ["alice", "bob", "world"]
