"""Pytest plugin: gives the run a data folder of its own and, where wanted, a PostgreSQL, before settings are read.

``QW_TEST_DATABASE`` is ``sqlite`` (the default), ``postgres`` or ``none``. ``QW_TEST_POSTGRES_URL``
and ``QW_TEST_REDIS_URL`` name servers to use instead of our own; what ``DATABASE_URL`` and ``REDIS_URL`` name is never
touched by a test.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from qmtl_worlds import env
from qmtl_worlds.embedded import postgres

DATABASE = env.choice("QW_TEST_DATABASE", "sqlite", among=("sqlite", "postgres", "none"))
EXTENDED = env.flag("QW_TEST_EXTENDED", default=False)
_DATABASE_FIXTURES = frozenset({"db", "transactional_db", "django_db_reset_sequences", "live_server"})
_PLAIN = {
    "QW_SECRET_KEY": "for-tests-only-and-long-enough-to-please-the-system-check",
    "QW_HTTPS": "0",
    "QW_LOG_FORMAT": "json",
    "QW_LOG_LEVEL": "WARNING",
    # A test may think longer than an operator's transaction may idle.
    "QW_IDLE_IN_TRANSACTION_TIMEOUT_MS": "60000",
}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """Set the environment that settings are about to read."""
    folder = Path(tempfile.mkdtemp(prefix="qmtl-worlds-tests-"))
    early_config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    for name in [name for name in os.environ if name.startswith("QW_") and not name.startswith("QW_TEST_")]:
        del os.environ[name]
    os.environ |= _PLAIN | {"QW_DATA_DIR": str(folder), "QW_NO_BOOTSTRAP": "1"}
    os.environ.pop("DATABASE_URL", None)
    os.environ.pop("REDIS_URL", None)
    if redis_url := os.environ.get("QW_TEST_REDIS_URL"):
        os.environ["REDIS_URL"] = redis_url
    if DATABASE == "postgres":
        os.environ["DATABASE_URL"] = os.environ.get("QW_TEST_POSTGRES_URL") or _own_postgres(early_config)
    return (yield)


def pytest_report_header() -> str:
    """Say which database the run uses."""
    return f"database: {DATABASE}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep what the chosen database can tell; the others are counted as deselected."""
    kept = [item for item in items if _belongs_to_run(item)]
    if len(kept) < len(items):
        chosen = set(kept)
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = kept


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Leave the counts for ``manage.py test``."""
    if target := os.environ.get("QW_TEST_COUNTS"):
        counts = {outcome: len(terminalreporter.stats.get(outcome, ())) for outcome in ("passed", "failed", "error")}
        Path(target).write_text(json.dumps(counts), encoding="utf-8")


def _own_postgres(config: pytest.Config) -> str:
    server = postgres.start()
    config.add_cleanup(server.stop)
    return server.url


def _belongs_to_run(item: pytest.Item) -> bool:
    """Tell whether this run asks for the test, and its database can answer it."""
    return (item.get_closest_marker("extended") is None or EXTENDED) and _fits_database(item)


def _fits_database(item: pytest.Item) -> bool:
    """On PostgreSQL users of the database only, on SQLite all but PostgreSQL's own, without one the rest."""
    if DATABASE == "sqlite":
        return item.get_closest_marker("postgres") is None
    fixtures = set(getattr(item, "fixturenames", ()))
    marked = any(item.get_closest_marker(name) for name in ("django_db", "postgres"))
    return (marked or not fixtures.isdisjoint(_DATABASE_FIXTURES)) == (DATABASE == "postgres")
