from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent.parent
pytestmark = pytest.mark.slow
SHOW = """
import json
from qmtl_worlds import settings
names = ["ALLOWED_HOSTS", "CELERY_BROKER_URL", "DATABASES", "DEBUG", "SECURE_HSTS_SECONDS", "SESSION_COOKIE_SECURE"]
print(json.dumps({name: getattr(settings, name) for name in names}, default=str))
"""


def load(folder: Path, **environment: str) -> dict[str, object]:
    """Read the settings in a process of their own, with nothing set but these variables."""
    kept = {"PATH": os.environ["PATH"], "QW_DATA_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", SHOW], cwd=ROOT, env=kept | environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ValueError(done.stderr.strip().splitlines()[-1])
    values: dict[str, object] = json.loads(done.stdout)
    return values


def test_with_nothing_set_the_server_is_closed_to_others_and_needs_no_service(tmp_path: Path) -> None:
    values = load(tmp_path)

    assert values["DEBUG"] is False
    assert values["SESSION_COOKIE_SECURE"] is True
    assert values["ALLOWED_HOSTS"] == ["localhost", "127.0.0.1", "[::1]"]
    assert values["CELERY_BROKER_URL"] == f"redis+socket://{tmp_path}/valkey/valkey.sock?virtual_host=1"
    databases = values["DATABASES"]
    assert isinstance(databases, dict)
    assert databases["default"]["NAME"] == f"{tmp_path}/worlds.sqlite3"


def test_postgresql_gets_its_pool_and_its_timeouts(tmp_path: Path) -> None:
    values = load(tmp_path, DATABASE_URL="postgres://worlds:pw@db.example/worlds?sslmode=require")

    databases = values["DATABASES"]
    assert isinstance(databases, dict)
    assert databases["default"]["HOST"] == "db.example"
    assert databases["default"]["OPTIONS"] == {
        "pool": {"min_size": 1, "max_size": 8, "timeout": 3, "reconnect_timeout": 3},
        "options": "-c statement_timeout=5000 -c lock_timeout=1000 -c idle_in_transaction_session_timeout=2000",
        "sslmode": "require",
    }


def test_value_that_cannot_be_meant_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"QW_DEBUG.*'perhaps'"):
        load(tmp_path, QW_DEBUG="perhaps")
