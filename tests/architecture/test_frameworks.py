from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import ROOT, under

FRAMEWORKS = ["celery", "django", "django_redis", "kombu", "psycopg", "redis", "rest_framework"]
LIBRARY = ["allocation", "contracts", "decision", "embedded", "lifecycle", "metrics", "offline", "policy", "sdk"]
STANDARD_LIBRARY_ONLY = [
    "qmtl_worlds/bootstrap.py",
    "qmtl_worlds/contracts",
    "qmtl_worlds/embedded",
    "qmtl_worlds/env.py",
    "qmtl_worlds/explain.py",
    "qmtl_worlds/lifecycle",
    "qmtl_worlds/sdk",
    "strategies/alpha",
]
OWN = {"qmtl_worlds", "strategies"}

# Imports every module below the named packages and tells which of the watched top-level packages that loaded.
IMPORT_ALL = """
import importlib, json, pkgutil, sys
for name in json.loads(sys.argv[1]):
    package = importlib.import_module(name)
    for found in pkgutil.walk_packages(getattr(package, "__path__", []), name + "."):
        importlib.import_module(found.name)
print(json.dumps(sorted(set(json.loads(sys.argv[2])) & set(sys.modules))))
"""
# Loads what the web process loads: the entry point, every address, every admin page.
LOAD_WEB = """
import importlib, json, sys
import qmtl_worlds.asgi
from django.urls import get_resolver
get_resolver().url_patterns
print(json.dumps(sorted({"numpy", "highspy"} & set(sys.modules))))
"""


def run(script: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded: list[str] = json.loads(done.stdout.splitlines()[-1])
    return loaded


def exists(package: str) -> bool:
    return (ROOT / Path(*package.split("."))).is_dir()


@pytest.mark.slow
def test_importing_the_whole_library_and_every_alpha_loads_no_framework() -> None:
    packages = [f"qmtl_worlds.{name}" for name in LIBRARY if exists(f"qmtl_worlds.{name}")]

    loaded = run(IMPORT_ALL, json.dumps([*packages, "strategies.alpha"]), json.dumps(FRAMEWORKS))

    assert len(packages) > 5
    assert loaded == []


@pytest.mark.parametrize("place", STANDARD_LIBRARY_ONLY)
def test_place_needs_the_standard_library_only(place: str) -> None:
    foreign = {
        module.name: sorted(module.imported_roots() - sys.stdlib_module_names - OWN)
        for module in under(place)
        if module.imported_roots() - sys.stdlib_module_names - OWN
    }

    assert foreign == {}


@pytest.mark.slow
def test_web_process_loads_nothing_that_computes() -> None:
    loaded = run(LOAD_WEB)

    assert loaded == []
