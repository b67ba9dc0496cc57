"""How Django opens its database: the two kinds that the product runs on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from qmtl_worlds import env

POOL_SECONDS: Final = 3
"""For how long a request waits for a connection of the pool."""


def sqlite(path: Path) -> dict[str, Any]:
    """Return how Django opens the file at ``path``: durable, one writer at a time, triggers that nothing passes by."""
    pragmas = (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "recursive_triggers=ON",
        # Else every page of a packed matrix costs a system call: a third of the time to load one.
        "mmap_size=268435456",
        "busy_timeout=20000",
    )
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": " ".join(f"PRAGMA {pragma};" for pragma in pragmas),
        },
    }


def postgresql(address: env.DatabaseAddress, *, pool_size: int, timeouts_ms: Mapping[str, int]) -> dict[str, Any]:
    """Return how Django connects: by a pool of ``pool_size``, every session under the server's own timeouts.

    The pool asks a connection whether it lives before it hands it out: after a restart of the server all are dead. It
    gives up connecting as soon as who waits for a connection does, and begins anew with the next one who asks: by
    itself it would double its pauses, and after an outage of a minute stay away for another half.
    """
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": address.name,
        "USER": address.user,
        "PASSWORD": address.password,
        "HOST": address.host,
        "PORT": address.port,
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "pool": {"min_size": 1, "max_size": pool_size, "timeout": POOL_SECONDS, "reconnect_timeout": POOL_SECONDS},
            "options": " ".join(f"-c {name}={value}" for name, value in timeouts_ms.items()),
            **address.options,
        },
    }
